/** The tool that paints strengths on the score: on or off, and how strong its brush is. */

import { STEP, STRONGEST } from "../paint";
import { number } from "../text";

interface Props {
  /** Null while nothing is painted. */
  brush: number | null;
  /** What the strength of the brush counts. */
  unit: string;
  disabled: string | null;
  onToggle: () => void;
  onBrush: (brush: number) => void;
}

export function PaintTool({ brush, unit, disabled, onToggle, onBrush }: Props) {
  return (
    <span class="sae-paint">
      <button
        type="button"
        aria-pressed={brush !== null}
        aria-disabled={disabled !== null}
        title={
          disabled ??
          (brush === null
            ? "Paint on the tokens of a row how strongly to push its feature there (P)"
            : "Painting: Escape or P ends it")
        }
        onClick={onToggle}
      >
        paint
      </button>
      {brush !== null && (
        <label
          class="sae-field"
          title="The brush ( [ and ] change it ): drag it along a row, or press Space; at 0, with the right button or with Alt it erases, as Backspace does"
        >
          <input
            type="range"
            aria-label="brush"
            min={0}
            max={STRONGEST}
            step={STEP}
            value={brush}
            aria-valuetext={`${number(brush)} ${unit}`}
            onInput={(event) => onBrush(Number(event.currentTarget.value))}
          />
          <span class="sae-number sae-brush">
            {brush === 0 ? "erase" : `${number(brush)} ${unit}`}
          </span>
        </label>
      )}
    </span>
  );
}
