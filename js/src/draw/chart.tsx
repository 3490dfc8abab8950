/** Small charts of a training: a figure over its steps, and how many features fire how often. */

import type { ComponentChildren } from "preact";
import { type Axis, linear, nearest, place } from "../axis";
import { count, strength } from "../text";

interface FrameProps {
  title: string;
  /** What the figure means. */
  about: string;
  /** The value that is read, in words. */
  value: string;
  /** All that the chart shows, for who cannot see it. */
  spoken: string;
  axis: Axis;
  format: (value: number) => string;
  /** What stands below the horizontal axis: from 0 to 1, and a name. */
  names: readonly (readonly [number, string])[];
  wide?: boolean;
  /** Told where the pointer is, from 0 to 1; null where it is gone. */
  onPoint?: (share: number | null) => void;
  children: ComponentChildren;
}

/** A chart's name, the value that is read, and its axes; what it draws fills 100 by 100. */
function Chart(props: FrameProps) {
  const { title, about, value, spoken, axis, format, names, wide, onPoint, children } = props;
  const high = (tick: number) => `${100 * place(axis, tick)}%`;
  return (
    <figure class={`sae-chart${wide ? " sae-wide" : ""}`} role="img" aria-label={spoken}>
      <figcaption class="sae-between" title={about}>
        <span class="sae-soft">{title}</span>
        <span class="sae-number sae-cut">{value}</span>
      </figcaption>
      <div class="sae-plane">
        <div class="sae-ticks sae-number sae-soft">
          {axis.ticks.map((tick) => (
            <span key={tick} style={{ bottom: high(tick) }}>
              {format(tick)}
            </span>
          ))}
        </div>
        <svg
          viewBox="0 0 100 100"
          preserveAspectRatio="none"
          aria-hidden="true"
          onPointerMove={(event) => {
            const edge = event.currentTarget.getBoundingClientRect();
            onPoint?.((event.clientX - edge.left) / (edge.width || 1));
          }}
          onPointerLeave={() => onPoint?.(null)}
        >
          {axis.ticks.map((tick) => (
            <path key={tick} class="sae-rule" d={`M0 ${100 - 100 * place(axis, tick)}H100`} />
          ))}
          {children}
        </svg>
        <div class="sae-names sae-number sae-soft">
          {names.map(([share, name]) => (
            <span
              key={name}
              style={{ left: `${100 * share}%` }}
              data-side={share <= 0 ? "left" : share >= 1 ? "right" : "middle"}
            >
              {name}
            </span>
          ))}
        </div>
      </div>
    </figure>
  );
}

interface CurveProps {
  title: string;
  about: string;
  /** The steps that `values` are of, and how many there will be. */
  steps: readonly number[];
  of: number;
  /** Whose figure is read; "" where there is but one SAE. */
  whose: string;
  /** The figure of each SAE, and what it should come to. */
  every: readonly { values: readonly number[]; target: number | null }[];
  /** Which of them is read. */
  chosen: number;
  axis: Axis;
  format: (value: number) => string;
  /** Which value is read; null: the last. */
  seen: number | null;
  onSee: (seen: number | null) => void;
}

/** A figure of the log over the steps of the run, a line for each SAE. */
export function Curve(props: CurveProps) {
  const { title, about, steps, of, whose, every, chosen, axis, format, seen, onSee } = props;
  const { values = [], target = null } = every[chosen] ?? {};
  const read = seen ?? values.length - 1;
  // The one that is read lies on top.
  const order = every.map((_, sae) => sae).sort((a, b) => +(a === chosen) - +(b === chosen));
  const at = (values: readonly number[], i: number) => {
    const [x, y] = [(100 * (steps[i] ?? 0)) / of, 100 - 100 * place(axis, values[i] ?? Number.NaN)];
    return Number.isFinite(y) ? `${x.toFixed(2)} ${y.toFixed(2)}` : "";
  };
  const aim = target === null ? "" : `target ${format(target)}`;
  const value = format(values[read] ?? Number.NaN);
  return (
    <Chart
      title={axis.log ? `${title} (log)` : title}
      about={about}
      value={aim ? `${value} · ${aim}` : value}
      spoken={`${title}${whose && ` of ${whose}`}: ${value} at step ${steps[read] ?? 0}${aim && `, ${aim}`}`}
      axis={axis}
      format={format}
      names={[
        [0, "0"],
        [1, count(of, "step")],
      ]}
      onPoint={(share) => onSee(share === null ? null : nearest(steps, share * of))}
    >
      {order.map((sae) => {
        const { values, target } = every[sae] ?? { values: [], target: null };
        const d = joined(values.map((_, i) => at(values, i)));
        return (
          <g key={sae} {...hue(sae, every.length)} data-chosen={sae === chosen}>
            {target !== null && (
              <path class="sae-target" d={`M0 ${100 - 100 * place(axis, target)}H100`} />
            )}
            <path class="sae-curve" d={d} />
            {sae === chosen && at(values, read) && (
              <path class="sae-spot" d={`M${at(values, read)}h0`} />
            )}
          </g>
        );
      })}
      {seen !== null && <path class="sae-seen" d={`M${(100 * (steps[seen] ?? 0)) / of} 0V100`} />}
    </Chart>
  );
}

/** Colours that can be told apart; `training.css` has them. */
const HUES = 6;

/** The colour of an SAE: none where there is no other. */
export const hue = (sae: number, saes: number) => ({
  "data-hue": saes > 1 ? sae % HUES : undefined,
});

/** Points as a path; where one is missing, the line is broken, and one alone is a dot. */
function joined(points: readonly string[]): string {
  const pieces = points.map((point, i) => {
    if (!point) return "";
    if (points[i - 1]) return `L${point}`;
    return points[i + 1] ? `M${point}` : `M${point}h0`;
  });
  return pieces.join("");
}

/** Half powers of ten from 10⁻⁶ on; before them stand the features that never fire. */
const POWERS = -6;
const DIGITS = "⁰¹²³⁴⁵⁶";

interface DensitiesProps {
  counts: readonly number[];
  step: number;
  /** Whose features; "" where there is but one SAE. */
  whose: string;
}

export function Densities({ counts, step, whose }: DensitiesProps) {
  const axis = linear(counts);
  const width = 100 / counts.length;
  const power = (bin: number) => {
    const exponent = POWERS + (bin - 1) / 2;
    return exponent === 0 ? "1" : `10⁻${DIGITS[-exponent] ?? ""}`;
  };
  const [never = 0, ...firing] = counts;
  const most = 1 + firing.indexOf(Math.max(...firing));
  // One feature of many is seen, too.
  const high = (n: number) => (n > 0 ? Math.max(1.5, 100 * place(axis, n)) : 0);
  const bounds = (bin: number) =>
    bin === 0 ? "never fire" : `fire on ${from(bin)} to ${from(bin + 1)} of the vectors`;
  return (
    <Chart
      wide
      title="how often features fire"
      about="How many features fire on which share of the vectors since the line of the log before"
      value={`${never} never`}
      spoken={`how often features${whose && ` of ${whose}`} fire, at step ${step}: ${count(never, "feature")} never; the most, ${counts[most] ?? 0}, ${bounds(most)}`}
      axis={axis}
      format={strength}
      names={[
        [0.5 / counts.length, "never"],
        ...[5, 9, 13].map((bin) => [bin / counts.length, power(bin)] as const),
      ]}
    >
      {counts.map((n, bin) => (
        <rect
          key={bin}
          class={bin === 0 ? "sae-never" : "sae-bin"}
          x={bin * width + 0.3}
          y={100 - high(n)}
          width={width - 0.6}
          height={high(n)}
        >
          <title>{`${n} ${bounds(bin)}`}</title>
        </rect>
      ))}
    </Chart>
  );
}

/** The share of vectors at which a bin begins, as a percentage. */
const from = (bin: number): string =>
  `${Number((100 * 10 ** (POWERS + (bin - 1) / 2)).toPrecision(1))} %`;
