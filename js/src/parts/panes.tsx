/** The texts side by side, as they are written, with the place marked where they part. */

import { useMemo } from "preact/hooks";
import { change, fork, joined, moved, number, percent, segments } from "../text";
import type { Arm, Effects, Guess } from "../wire";
import { PART, type Strip, StripText, stripOf } from "./strip";

interface Props {
  prompt: string;
  arms: readonly Arm[];
  /** All of the first, where it is known and what is written begins so. */
  base?: Arm | undefined;
  /** What stood here before, while the new texts are still shorter. */
  before?: readonly Arm[];
  /** More is coming. */
  writing?: boolean;
  /** No token of the new texts has come yet: these are the old ones. */
  old?: boolean;
  /** What the edits do to the unsteered text. */
  strip?: Partial<Effects>;
  /** What is known of the steered text: the mean KL, the likeliest tokens at each place. */
  proof: Pick<Effects, "mean" | "next">;
}

export function Panes(props: Props) {
  const {
    prompt,
    arms,
    base,
    before = [],
    writing = false,
    old = false,
    strip = {},
    proof,
  } = props;
  return (
    <div class="sae-panes" aria-busy={writing}>
      {arms.map((arm, i) => {
        const begun = arm.tokens.join("");
        const known = i === 0 && base?.tokens.join("").startsWith(begun) ? base : null;
        const shown = known ?? arm;
        const gone = old && !known;
        return (
          <Pane
            key={i}
            prompt={prompt}
            arm={shown}
            other={(i > 0 ? (base ?? arms[0]) : arms[1]) ?? arm}
            steered={i > 0}
            tail={known ? [] : (before[i]?.tokens.slice(arm.tokens.length) ?? [])}
            writing={writing && !known}
            old={gone}
            strip={i === 0 && !gone ? stripOf(strip, prompt + shown.tokens.join("")) : null}
            proof={i === 1 ? proof : {}}
          />
        );
      })}
    </div>
  );
}

interface PaneProps {
  prompt: string;
  arm: Arm;
  other: Arm;
  steered: boolean;
  tail: readonly string[];
  writing: boolean;
  old: boolean;
  strip: Strip | null;
  /** What is known of this text. */
  proof: Props["proof"];
}

const CONTROL_MEANS = "The same push at the same tokens, in another direction";

function Pane({ prompt, arm, other, steered, tail, writing, old, strip, proof }: PaneProps) {
  const { mean: kl = null, next } = proof;
  const at = useMemo(() => fork(other.tokens, arm.tokens), [other.tokens, arm.tokens]);
  const stretches = useMemo(
    () => segments(arm.tokens, steered ? moved(other.tokens, arm.tokens) : [], at, Boolean(next)),
    [other.tokens, arm.tokens, steered, at, next],
  );
  return (
    <div class={`sae-pane ${old ? "sae-old" : ""}`}>
      <div class="sae-between sae-tiny sae-soft">
        <span title={arm.control ? CONTROL_MEANS : undefined}>
          {arm.control ? `control: ${arm.control}` : arm.name === "base" ? "unsteered" : arm.name}
        </span>
        <span
          class="sae-number sae-mono"
          title="Surprise: the mean of −log p of the tokens written, under what wrote them"
        >
          {steered && at === null && !writing && arm.tokens.length > 0 ? "the same text · " : ""}
          {writing && arm.nll === null ? "" : `${number(arm.nll)} nats/token`}
          {kl !== null && (
            <span title="How far predictions in this text are from the unsteered model's: mean KL, nats a token">
              {` · KL ${number(kl)}`}
            </span>
          )}
        </span>
      </div>
      <p>
        {strip ? (
          <StripText strip={strip} fork={at} />
        ) : (
          <>
            <span class="sae-soft">{prompt}</span>
            {stretches.map((segment, i) => (
              <span
                key={`${i} ${segment.moved}`}
                class={joined([segment.moved && "sae-moved", segment.fork && "sae-fork"], " ")}
                title={joined([segment.fork && PART, guessed(next?.[segment.at])]) || undefined}
              >
                {segment.text}
              </span>
            ))}
            {writing && !old && <span class="sae-caret" />}
            {tail.length > 0 && <span class="sae-tail">{tail.join("")}</span>}
          </>
        )}
      </p>
    </div>
  );
}

/** The likeliest tokens at a place, in words. */
function guessed(guesses: readonly Guess[] | undefined): string {
  if (!guesses?.length) return "";
  const listed = guesses.map(([token, p, by]) => `${token} ${percent(p)} (${change(by, percent)})`);
  return `likeliest here, and what the edits changed: ${listed.join(", ")}`;
}
