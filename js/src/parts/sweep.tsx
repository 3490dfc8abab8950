/** Every strength at once: what it buys and costs, and the text it writes, without asking again. */

import { useRef } from "preact/hooks";
import { counts, times } from "../edits";
import { number, strength } from "../text";
import type { Arm, Edit, Interval, Sweep, SweepArm } from "../wire";
import { byKey } from "./keys";

const WIDTH = 600;
const HEIGHT = 64;

interface Props {
  sweep: Partial<Sweep>;
  /** The edits are the swept ones times this; null: they are others. */
  at: number | null;
  /** Which point is looked at. */
  seen: number | null;
  onSee: (point: number | null) => void;
  /** Take a strength, as a factor. */
  onTake: (factor: number) => void;
}

/** The points of a sweep without its control's: no edit, and each strength, upwards. */
export function pointsOf({ arms }: Partial<Sweep>): SweepArm[] {
  return (arms ?? []).filter((arm) => !arm.control);
}

/** No edit, and the control at each strength. */
const controlsOf = (sweep: Partial<Sweep>): SweepArm[] => [
  ...pointsOf(sweep).slice(0, 1),
  ...(sweep.arms ?? []).filter((arm) => arm.control),
];

/** The arms that a point stands for: no edit, the edits, and their control. */
export function armsAt({ arms, request }: Partial<Sweep>, point: number): Arm[] {
  const steered = pointsOf({ arms: arms ?? [] });
  const [base, here] = [steered.find((arm) => arm.factor === 0), steered[point]];
  if (!base || !here) return [];
  const control = (arms ?? []).find((arm) => arm.control && arm.factor === here.factor);
  const name = `steered at ${named(request?.edits ?? [], here.factor)}`;
  return [
    { ...base, name: "base" },
    { ...here, name },
    ...(control ? [{ ...control, name: "control" }] : []),
  ];
}

/** What the strengths of a swept edit did, and its control's: [strength, share of the most]. */
export function curvesOf({ arms }: Partial<Sweep>, edit: Edit | undefined): Interval[][] {
  if (!edit || !arms || counts(edit.op) === "nothing" || edit.on === false) return [];
  const most = scale(arms, "concept");
  return [pointsOf, controlsOf].map((kind) =>
    kind({ arms }).map((arm) => [times(edit, arm.factor), Math.max(0, arm.concept ?? 0) / most]),
  );
}

export function SweepStrip({ sweep, at, seen, onSee, onTake }: Props) {
  const plot = useRef<HTMLDivElement>(null);
  const points = pointsOf(sweep);
  const first = Math.min(0, points[0]?.factor ?? 0);
  const last = points.at(-1)?.factor ?? 1;
  const controls = controlsOf(sweep);
  const concept = scale([...points, ...controls], "concept");
  const kl = scale(points, "kl");
  const share = (factor: number) => (factor - first) / (last - first || 1);
  const x = (factor: number) => WIDTH * share(factor);
  const line = (arms: readonly SweepArm[], of: Drawn, most: number) =>
    arms
      .flatMap((arm) => {
        const value = arm[of];
        const y = HEIGHT - 3 - ((HEIGHT - 6) * Math.max(0, value ?? 0)) / most;
        return value === null ? [] : [`${x(arm.factor).toFixed(1)},${y.toFixed(1)}`];
      })
      .join(" ");

  const closest = (factor: number): number => {
    const gaps = points.map((point) => Math.abs(point.factor - factor));
    return gaps.indexOf(Math.min(...gaps));
  };
  const nearest = (event: PointerEvent | MouseEvent): number => {
    const edge = plot.current?.getBoundingClientRect();
    const at = edge ? (event.clientX - edge.left) / (edge.width || 1) : 0;
    return closest(first + at * (last - first));
  };
  const press = (event: KeyboardEvent) => {
    const here = seen ?? closest(at ?? 1);
    const last = points.length - 1;
    const leave = () => {
      event.stopPropagation();
      onSee(null);
    };
    const moves = [
      () => onSee(Math.min(last, here + 1)),
      () => onSee(Math.max(0, here - 1)),
      () => onSee(0),
      () => onSee(last),
    ];
    const more = { Enter: () => onTake(points[seen ?? 0]?.factor ?? 1), Escape: leave };
    byKey(event, moves, seen === null ? {} : more);
  };

  const edits = sweep.request?.edits ?? [];
  const told = (arm: SweepArm) => said(arm, sweep.unit === "raw" ? "" : " × peak");
  const shown = seen === null ? null : points[seen];
  return (
    <div class="sae-sweep">
      <div class="sae-between sae-tiny sae-soft">
        <span class="sae-cut">
          strength: <span class="sae-rose">— the feature in the text</span>
          {controls.length > 1 && <span class="sae-rose"> ┄ its control</span>}{" "}
          <span class="sae-fell">— KL</span>
        </span>
        <span class="sae-number sae-cut">{shown ? told(shown) : advice(sweep)}</span>
      </div>
      <div
        ref={plot}
        class="sae-plot"
        role="slider"
        tabIndex={0}
        aria-label="strengths that were swept"
        aria-valuemin={first}
        aria-valuemax={last}
        aria-valuenow={Math.min(last, Math.max(first, shown?.factor ?? at ?? 1))}
        aria-valuetext={shown ? `${named(edits, shown.factor)}: ${told(shown)}` : "none looked at"}
        title="Point to read a strength's text, click to take it; or arrows and Enter"
        onPointerMove={(event) => onSee(nearest(event))}
        onPointerLeave={() => onSee(null)}
        onBlur={() => onSee(null)}
        onClick={(event) => onTake(points[nearest(event)]?.factor ?? 1)}
        onKeyDown={press}
      >
        <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
          {sweep.safe !== undefined && (
            <rect class="sae-safe" x={0} y={0} width={x(sweep.safe)} height={HEIGHT} />
          )}
          {at !== null && at <= last && at >= first && (
            <line class="sae-now" x1={x(at)} x2={x(at)} y1={0} y2={HEIGHT} />
          )}
          {shown && (
            <line class="sae-seen" x1={x(shown.factor)} x2={x(shown.factor)} y1={0} y2={HEIGHT} />
          )}
          <polyline class="sae-cost" points={line(points, "kl", kl)} />
          <polyline class="sae-ghost" points={line(controls, "concept", concept)} />
          <polyline class="sae-gain" points={line(points, "concept", concept)} />
        </svg>
      </div>
      <div class="sae-ticks sae-tiny sae-soft sae-number" aria-hidden="true">
        {points.map((point) => (
          <span key={point.factor} style={{ left: `${100 * share(point.factor)}%` }}>
            {named(edits, point.factor)}
          </span>
        ))}
      </div>
    </div>
  );
}

/** What is drawn of the arms. */
type Drawn = "concept" | "kl";

/** The largest value of some arms, to which they are drawn. */
function scale(arms: readonly SweepArm[], of: Drawn): number {
  return Math.max(1e-6, ...arms.map((arm) => arm[of] ?? 0));
}

/** A factor as the strength that it makes, where one edit alone has one. */
function named(edits: readonly Edit[], factor: number): string {
  const strong = edits.filter((edit) => edit.on !== false && edit.strength !== undefined);
  const [only] = strong;
  return strong.length === 1 && only?.strength !== undefined && counts(only.op) === "units"
    ? strength(Number((factor * only.strength).toPrecision(3)))
    : `×${strength(factor)}`;
}

function said({ concept, kl, surprise, distinct }: SweepArm, unit: string): string {
  return `feature ${number(concept)}${unit} · KL ${number(kl)} · surprise ${number(surprise)} · distinct ${number(distinct)}`;
}

function advice({ safe, budget }: Partial<Sweep>): string {
  return safe === undefined ? "" : `shaded: KL within ${number(budget)} nats a token`;
}
