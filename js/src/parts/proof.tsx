/** What else the edits did, and what proves it: other features, the receipt, the code. */

import { useEffect, useState } from "preact/hooks";
import { change, number } from "../text";
import type { Effects, Moved } from "../wire";

interface AlsoProps {
  also: readonly Moved[];
  /** Why none can be selected; null where they can. */
  disabled: string | null;
  onSelect: (feature: Moved) => void;
}

/** The features that nobody edited and that rose or fell most. */
export function Also({ also, disabled, onSelect }: AlsoProps) {
  if (also.length === 0) return null;
  return (
    <div class="sae-also sae-tiny">
      <span
        class="sae-soft"
        title="Features that nobody edited, by how much they rise or fall in the steered text: the mean over its tokens, with the edits against without"
      >
        also moved
      </span>
      {also.map((one) => (
        <button
          type="button"
          key={`${one.sae} ${one.feature}`}
          title={`${number(one.before)} → ${number(one.after)}: ${disabled ?? "select it"}`}
          aria-disabled={disabled !== null}
          onClick={() => disabled === null && onSelect(one)}
        >
          <span class="sae-mono sae-soft">{one.feature}</span>
          {one.label && <span class="sae-cut">{one.label}</span>}
          <span class={`sae-number ${one.after < one.before ? "sae-fell" : "sae-rose"}`}>
            {change(one.after - one.before)}
          </span>
        </button>
      ))}
    </div>
  );
}

interface OverlapsProps {
  overlaps: NonNullable<Effects["overlaps"]>;
}

/** Two edits along much the same direction do more, or less, than each says by itself. */
export function Overlaps({ overlaps }: OverlapsProps) {
  const listed = [...overlaps].sort((a, b) => Math.abs(b[2]) - Math.abs(a[2])).slice(0, MOST);
  return (
    <>
      {listed.map(([one, two, cosine]) => (
        <p key={`${one} ${two}`} class="sae-overlap sae-tiny">
          {one} and {two} point{" "}
          {cosine > 0 ? "alike: together they push further than each says" : "against each other"}{" "}
          <span class="sae-number sae-soft">(cosine {number(cosine)})</span>
        </p>
      ))}
    </>
  );
}

/** More are not listed: the strongest say enough. */
const MOST = 3;

type Drawer = "receipt" | "code" | null;

/** The receipt, and the run as Python to copy. */
export function useProof({ receipt, code }: Partial<Effects>) {
  const [open, setOpen] = useState<Drawer>(null);
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    if (!copied) return;
    const timer = setTimeout(() => setCopied(false), 2000);
    return () => clearTimeout(timer);
  }, [copied]);
  const copy = async () => {
    if (code === undefined) return;
    try {
      await navigator.clipboard.writeText(code);
      setCopied(true);
    } catch {
      // A page that is not served securely has no clipboard: the code is shown instead.
      setOpen(open === "code" ? null : "code");
    }
  };
  const text = open === "receipt" ? receipt : open === "code" ? code : undefined;
  return {
    buttons: (
      <>
        {receipt !== undefined && (
          <button
            type="button"
            class="sae-link"
            aria-expanded={open === "receipt"}
            title="What was asked for, and what the SAE found in the edited activations"
            onClick={() => setOpen(open === "receipt" ? null : "receipt")}
          >
            receipt
          </button>
        )}
        {code !== undefined && (
          <button
            type="button"
            class="sae-link"
            title="Copy the edits and the run as Python"
            onClick={() => void copy()}
          >
            {copied ? "copied" : "copy as code"}
          </button>
        )}
      </>
    ),
    drawer: text !== undefined && <pre class="sae-drawer sae-mono">{text}</pre>,
  };
}
