/** The foot of the panel: what was really done to the model, and the drawers. */

import type { ComponentChild } from "preact";
import { useEffect, useState } from "preact/hooks";
import { isOn } from "../edits";
import { count, joined, number, seconds } from "../text";
import type { Arm, Edit, Effects, Run } from "../wire";
import { sheet } from "./about";
import { Button } from "./choice";

interface Props {
  run: Run | null;
  /** The run was not made now. */
  recorded: boolean;
  effects: Partial<Effects>;
  /** Why nothing was measured. */
  trouble: string | undefined;
  edits: readonly Edit[];
  message: string;
  /** More drawers: name, what is in it in words, and itself; null where it is empty. */
  drawers: readonly [name: string, title: string, content: ComponentChild | null][];
}

const ENDS: Record<string, string> = {
  length: "",
  end: "the text ended",
  context: "the context is full",
};
const RECEIPT = "What was asked for, and what the SAE found after the edits";

export function Foot({ run, recorded, effects, trouble, edits, message, drawers }: Props) {
  const { receipt, code } = effects;
  const [open, setOpen] = useState("");
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const toggle = (name: string) => setOpen(open === name ? "" : name);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(code ?? "");
      setCopied(true);
    } catch {
      // A page that is not served securely has no clipboard: the code is shown instead.
      toggle("code");
    }
  };
  const offered = [["receipt", RECEIPT, sheet(receipt)] as const, ...drawers];
  const shown = [...offered, ["code", "", sheet(code)] as const].find(([name]) => name === open);
  const asked = (run?.request.edits ?? edits).some(isOn);
  return (
    <>
      <div class="sae-foot sae-number">
        {run ? (
          <>
            {recorded && (
              <span class="sae-badge" title="Written and measured when this was recorded, not now">
                recorded
              </span>
            )}
            <span
              class={asked ? ([run.positions].flat().some(Boolean) ? "sae-ok" : "sae-warn") : ""}
            >
              {asked ? `● applied at ${places(run)}` : "no edits: both texts are the model's own"}
            </span>
            {asked && run.ratio !== null && (
              <span title="Mean size of the change against the activation it changed">
                ‖Δ‖/‖h‖ {number(run.ratio)}
              </span>
            )}
            {run.note && <span>{run.note}</span>}
            {trouble && <span class="sae-warn">not measured: {trouble}</span>}
          </>
        ) : (
          <span>{message}</span>
        )}
        <span class="sae-grow" />
        {run && (
          <span
            title={`The hook ran ${run.calls.prefill} × on the prompt and ${run.calls.steps} × while writing`}
          >
            {joined([ending(run), run.seconds && seconds(run.seconds)], " · ")}
          </span>
        )}
        {offered.map(
          ([name, title, content]) =>
            content && (
              <Button
                key={name}
                class="sae-link"
                aria-expanded={open === name}
                title={title}
                onClick={() => toggle(name)}
              >
                {name}
              </Button>
            ),
        )}
        {code !== undefined && (
          <Button class="sae-link" title="Copy the edits and the run as Python" onClick={copy}>
            {copied ? "copied" : "copy as code"}
          </Button>
        )}
      </div>
      {shown?.[2]}
    </>
  );
}

const ending = ({ ended, arms }: Run): string =>
  ended === "stopped" ? stoppedAfter(arms) : (ENDS[ended] ?? ended);

export const stoppedAfter = (arms: readonly Arm[] = []): string =>
  `stopped after ${count(arms[0]?.tokens.length ?? 0, "token")}`;

/** Of the positions that the model read: the prompt's, and one for each step after it. */
function places({ positions, prompt, calls }: Run): string {
  if (!Array.isArray(positions)) return count(positions ?? 0, "position");
  return `${positions.join(" + ")} of ${count(prompt.length + calls.steps, "position")}`;
}
