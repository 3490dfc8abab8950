/** One slider for all edits together: it multiplies their strengths. */

import { useRef } from "preact/hooks";
import { factorBetween, scaled } from "../edits";
import { strength } from "../text";
import type { Edit } from "../wire";
import { useHost } from "./frame";
import { Slider } from "./slider";

const STEP = 0.01;
const FARTHEST = 2;

interface Props {
  edits: readonly Edit[];
  onChange: (edits: Edit[]) => void;
}

export function Fader({ edits, onChange }: Props) {
  const { recorded, why } = useHost();
  // What it multiplies: the edits as they were when something else last changed them.
  const base = useRef(edits);
  const found = factorBetween(base.current, edits);
  if (found === null) base.current = edits;
  const factor = found ?? 1;
  const moving = base.current.filter((edit) => scaled(edit, 2).strength !== edit.strength);
  if (moving.length < 2) return null;
  const take = (next: number) => onChange(base.current.map((edit) => scaled(edit, next)));
  return (
    <div class="sae-edit" data-push="up" role="group" aria-label="all edits together">
      <span class="sae-what sae-soft">all together</span>
      <Slider
        value={factor}
        min={0}
        max={Math.max(FARTHEST, factor)}
        step={STEP}
        zero={1}
        label="strength of all edits together"
        unit="×"
        disabled={recorded ? why : null}
        onInput={take}
        onReset={() => take(1)}
        onRemove={() => take(1)}
      />
      <span class="sae-value sae-mono">× {strength(factor)}</span>
    </div>
  );
}
