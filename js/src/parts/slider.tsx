/** A slider that is dragged by its whole height, and nudged with the arrow keys. */

import { useRef, useState } from "preact/hooks";
import { joined, strength } from "../text";
import type { Interval } from "../wire";
import { byKey } from "./keys";

interface Props {
  /** Null where there is nothing to set. */
  value: number | null;
  min: number;
  max: number;
  /** What an arrow key adds; with Shift ten times as much. */
  step: number;
  /** Where nothing changes; null where there is no such value. */
  zero: number | null;
  /** The recommended value. */
  mark?: number | null;
  /** Between which values it is worth looking. */
  band?: Interval | null;
  /** What some values were found to do: [value, from 0 to 1], and a control's beside it, dashed. */
  curves?: readonly (readonly Interval[])[];
  /** The values that were recorded, upwards. */
  ticks?: readonly number[];
  /** Whether there are no others. */
  snaps?: boolean;
  label: string;
  unit: string;
  /** Why it cannot be moved; null where it can. */
  disabled: string | null;
  onInput: (value: number) => void;
  onReset: () => void;
  onRemove: () => void;
}

/** Within so many pixels of zero or the recommended value, a drag catches on it. */
const CATCH = 4;
const RECORDED = "Recorded at the ticks: drag, or arrows, Home, End";

export function Slider(props: Props) {
  const {
    value,
    step,
    zero,
    mark = null,
    band = null,
    curves = [],
    ticks = [],
    snaps = false,
    label,
    unit,
    disabled,
    onInput,
    onReset,
    onRemove,
  } = props;
  // The ends follow a value that lies beyond them, but not while it is dragged.
  const [held, setHeld] = useState<[number, number] | null>(null);
  const [min, max] = held ?? [Math.min(props.min, ...ticks), Math.max(props.max, ...ticks)];
  const round = (x: number) => (snaps ? nearest(ticks, x) : rounded(x, step));
  const track = useRef<HTMLDivElement>(null);
  const still = disabled ?? (value === null ? "This operation has no strength" : null);
  const share = (x: number) => Math.min(1, Math.max(0, (x - min) / (max - min || 1)));
  const percent = (x: number) => `${100 * share(x)}%`;
  const between = (a: number, b: number) => ({
    left: percent(Math.min(a, b)),
    width: `${100 * Math.abs(share(a) - share(b))}%`,
  });

  const drag = (event: PointerEvent) => {
    const edge = track.current?.getBoundingClientRect();
    if (!edge || still !== null) return;
    const at = Math.min(1, Math.max(0, (event.clientX - edge.left) / (edge.width || 1)));
    let next = min + at * (max - min);
    for (const stop of [...ticks, mark, zero]) {
      if (stop !== null && Math.abs(share(stop) - at) * edge.width <= CATCH) next = stop;
    }
    onInput(round(next));
  };
  const reset = snaps ? () => onInput(round(mark ?? 0)) : onReset;
  const press = (event: KeyboardEvent) => {
    if (disabled !== null) return;
    const by = event.shiftKey ? 10 * step : step;
    const now = value ?? 0;
    const to = (next = now) => onInput(round(next));
    const remove = () => !event.repeat && !snaps && onRemove();
    const moves = [
      () => to(snaps ? ticks.find((x) => x > now) : now + by),
      () => to(snaps ? ticks.findLast((x) => x < now) : now - by),
      () => to(min),
      () => to(max),
    ];
    const rest = { Delete: remove, Backspace: remove };
    byKey(event, still === null ? moves : [], still === null ? { ...rest, r: reset } : rest);
  };

  const advice = joined(
    [
      mark !== null && `Recommended: ${strength(mark)} ${unit}`,
      band &&
        `Suggested: ${strength(band[0])} to ${strength(band[1])} ${unit} (KL 0.1 to 1 nat a token)`,
    ],
    ". ",
  );
  return (
    <div
      class="sae-slider"
      role="slider"
      tabIndex={0}
      aria-label={label}
      aria-valuemin={min}
      aria-valuemax={max}
      aria-valuenow={value ?? 0}
      aria-valuetext={value === null ? "none" : `${strength(value)} ${unit}`}
      aria-disabled={still !== null}
      aria-description={advice || undefined}
      title={
        still ??
        (snaps
          ? RECORDED
          : `${advice && `${advice}. `}Drag; arrows nudge by ${step}, with Shift by ${rounded(10 * step, step)}; double-click or R resets; Delete removes`)
      }
      onPointerDown={(event) => {
        if (event.button !== 0) return;
        event.currentTarget.setPointerCapture(event.pointerId);
        setHeld([min, max]);
        drag(event);
      }}
      onPointerMove={(event) => {
        if (event.currentTarget.hasPointerCapture(event.pointerId)) drag(event);
      }}
      onLostPointerCapture={() => setHeld(null)}
      onDblClick={() => still === null && reset()}
      onKeyDown={press}
    >
      <div class="sae-rail" ref={track}>
        <div class="sae-track" />
        {value !== null && (
          <>
            {band && <div class="sae-band" style={between(...band)} />}
            <svg class="sae-curves" viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
              {curves.map((points, i) => (
                <polyline
                  key={i}
                  class={i > 0 ? "sae-ghost" : "sae-gain"}
                  points={points
                    .filter(([x]) => x >= min && x <= max)
                    .map(([x, y]) => `${share(x)},${1 - y}`)
                    .join(" ")}
                />
              ))}
            </svg>
            {ticks.map((x) => (
              <div key={x} class="sae-tick" style={{ left: percent(x) }} />
            ))}
            {zero !== null && <div class="sae-zero" style={{ left: percent(zero) }} />}
            {mark !== null && <div class="sae-best" style={{ left: percent(mark) }} />}
            <div class="sae-fill" style={between(zero ?? 0, value)} />
            <div class="sae-thumb" style={{ left: percent(value) }} />
          </>
        )}
      </div>
    </div>
  );
}

const nearest = (values: readonly number[], x: number): number =>
  values.reduce((best, each) => (Math.abs(each - x) < Math.abs(best - x) ? each : best));

/** The nearest multiple of `step`, a power of ten, without the dust of binary fractions. */
function rounded(value: number, step: number): number {
  return Number(
    (Math.round(value / step) * step).toFixed(Math.max(0, -Math.floor(Math.log10(step)))),
  );
}
