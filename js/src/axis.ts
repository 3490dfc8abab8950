/** Axes of small charts: how far they reach, which values they name, where a value stands. */

export interface Axis {
  low: number;
  high: number;
  /** Equal steps are equal factors. */
  log: boolean;
  /** The values that are named, the ends among them. */
  ticks: number[];
}

/** Ends whose halves are short as well. */
const ROUND = [1, 2, 4, 6, 8, 10];
const SERIES = [1, 2, 5];
/** Names that stand closer than this share of the axis would touch. */
const APART = 0.22;

/** From nothing to the first round number that none of `values` exceeds. */
export function linear(values: readonly number[]): Axis {
  const most = Math.max(0, ...values.filter(Number.isFinite));
  const unit = most > 0 ? 10 ** Math.floor(Math.log10(most)) : 1;
  const high = unit * (ROUND.find((n) => n * unit >= most) ?? 10);
  return { low: 0, high, log: false, ticks: [0, high / 2, high] };
}

/** Between the round numbers that hold all of `values` that are above nothing. */
export function logarithmic(values: readonly number[]): Axis {
  const shown = values.filter((value) => Number.isFinite(value) && value > 0);
  const [least, most] = shown.length ? [Math.min(...shown), Math.max(...shown)] : [0.1, 1];
  const steps: number[] = [];
  for (let power = decade(least); power <= decade(most) + 1; power++) {
    for (const n of SERIES) steps.push(Number(`${n}e${power}`));
  }
  const low = steps.findLast((step) => step <= least) ?? least;
  const high = steps.find((step) => step >= most && step > low) ?? most;
  const axis = { low, high, log: true, ticks: [low, high] };
  for (const step of steps.filter((step) => step > low && step < high && isPower(step))) {
    const before = axis.ticks.at(-2) ?? low;
    const room = Math.min(place(axis, step) - place(axis, before), 1 - place(axis, step));
    if (room >= APART) axis.ticks.splice(-1, 0, step);
  }
  return axis;
}

/** Where a value stands, from 0 at the low end to 1; NaN where it has no place. */
export function place({ low, high, log }: Axis, value: number): number {
  return log ? Math.log(value / low) / Math.log(high / low) : (value - low) / (high - low);
}

const decade = (value: number): number => Math.floor(Math.log10(value) + 1e-9);
const isPower = (value: number): boolean => Math.abs(Math.log10(value) % 1) < 1e-9;

/** Which of `steps`, in their order, is nearest to `step`; null where there are none. */
export function nearest(steps: readonly number[], step: number): number | null {
  const gaps = steps.map((each) => Math.abs(each - step));
  return gaps.length ? gaps.indexOf(Math.min(...gaps)) : null;
}
