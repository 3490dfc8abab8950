/** Edits as values: what a slider can say about one, and how one becomes another. */

import { count } from "./text";
import type {
  Condition,
  Edit,
  Operation,
  Sae,
  Schedule,
  SteeringFeature,
  Unit,
  Where,
} from "./wire";

/** How far a slider reaches, × peak or × norm; farther values can be typed. */
const REACH = 1.2;
/** And so far beyond the recommended strength, × that. */
const BEYOND = 1.5;
const FARTHEST_SCALE = 3;
const FARTHEST_TURN = 90;

/** Whether an edit does anything. */
export const isOn = (edit: Edit): boolean => edit.on ?? true;

/** Whether the strength of an operation counts units, is a bare number, or is none. */
export function counts(op: Operation): "units" | "number" | "nothing" {
  if (op === "ablate" || op === "project") return "nothing";
  return op === "scale" || op === "rotate" ? "number" : "units";
}

/** How far a slider reaches in the unit of its edit. */
function reach(edit: Edit, feature: SteeringFeature | undefined): number {
  if (edit.op === "scale") return FARTHEST_SCALE;
  if (edit.op === "rotate") return FARTHEST_TURN;
  const peaks = Math.max(REACH, BEYOND * (feature?.push?.strength ?? 0));
  if (edit.unit === "raw") return feature?.peak ? peaks * feature.peak : 10 * REACH;
  return edit.unit === "norm" ? REACH : peaks;
}

/** The strength at which an operation changes nothing; null where no strength does. */
export function neutral(op: Operation): number | null {
  return op === "add" || op === "rotate" ? 0 : op === "scale" ? 1 : null;
}

/** The ends of an edit's slider. A value beyond them moves the end out to it. */
export function range(edit: Edit, feature: SteeringFeature | undefined): [number, number] {
  const value = edit.strength ?? 0;
  const far = Math.max(reach(edit, feature), value);
  const either = Math.max(far, -value);
  return neutral(edit.op) === 0 ? [-either, either] : [Math.min(0, value), far];
}

/** What an arrow key adds to a strength: about a hundredth of the reach, a power of ten. */
export function step(edit: Edit, feature: SteeringFeature | undefined): number {
  return 10 ** (Math.round(Math.log10(reach(edit, feature))) - 2);
}

/** The strength an edit goes back to: the recommended one, or the one that changes nothing. */
export function resting(
  edit: Edit,
  feature: SteeringFeature | undefined,
  sae: Sae | undefined,
): number {
  if (edit.op === "scale") return 1;
  const recommended = edit.op === "add" ? feature?.push?.strength : undefined;
  if (recommended === undefined) return 0;
  return convert(recommended, "peak", edit.unit ?? "peak", feature, sae) ?? 0;
}

/** The same push in another unit; null where what a unit counts is not known. */
export function convert(
  value: number,
  from: Unit,
  to: Unit,
  feature: SteeringFeature | undefined,
  sae: Sae | undefined,
): number | null {
  const raw: Record<Unit, number | null | undefined> = {
    peak: feature?.peak,
    norm: sae?.norm,
    raw: 1,
  };
  const [numerator, denominator] = [raw[from], raw[to]];
  if (from === to) return value;
  return numerator && denominator ? (value * numerator) / denominator : null;
}

/** Another operation on the same feature, with a strength that makes sense for it. */
export function withOperation(
  edit: Edit,
  op: Operation,
  feature: SteeringFeature | undefined,
  sae: Sae | undefined,
): Edit {
  const { strength, unit, ...rest } = edit;
  const kind = counts(op);
  if (kind === "nothing") return { ...rest, op };
  if (kind === "number") return { ...rest, op, strength: op === "scale" ? 2 : 30 };
  const usual = edit.vector ? "raw" : unitFor(feature?.peak ?? null, sae);
  const next: Edit = { ...rest, op, unit: unit ?? usual };
  const kept = counts(edit.op) === "units" ? strength : undefined;
  const wanted = kept ?? (resting(next, feature, sae) || 0.5);
  return { ...next, strength: op === "target" ? Math.max(0, wanted) : wanted };
}

/** What strengths count in at first: peaks, unless it is known that there is none. */
export function unitFor(peak: number | null, sae: Sae | undefined): Unit {
  if (typeof sae?.norm !== "number") return "raw"; // an SAE without statistics
  return peak === 0 ? "norm" : "peak";
}

/** Whether an edit pushes its feature down, up, or not at all. */
export function push(edit: Edit): "up" | "down" | "none" {
  if (counts(edit.op) === "nothing" || edit.op === "ceiling") return "down";
  const from = neutral(edit.op);
  const value = edit.strength ?? 0;
  if (value === from) return "none";
  return value < (from ?? 0) ? "down" : "up";
}

/** The edit that a person gets who adds `feature`: what steers best, or a push in its peaks. */
export function newEdit(feature: SteeringFeature, from: Sae | undefined): Edit {
  const { sae, feature: index, push: best, peak } = feature;
  if (best) return best;
  return {
    op: "add",
    feature: index,
    strength: 0.5,
    unit: unitFor(peak, from),
    where: "all",
    sae,
    on: true,
  };
}

/** Where an edit acts, in words. */
export function placed(where: Where): string {
  if (where === "all") return "everywhere";
  if (typeof where === "string") return where;
  const { start, stop, step } = where;
  const range = stop === null ? `from ${start}` : `${start}–${stop - 1}`;
  return step === 1 ? range : `${range}, every ${step}`;
}

/** How much of an edit is done when, by name; a person can choose any but the painted ones. */
const COURSES: Record<Exclude<Course, "painted">, Schedule | undefined> = {
  steady: undefined,
  fading: { kind: "decay", half: 12 },
  rising: { kind: "ramp", over: 10 },
  pulsing: { kind: "pulse", every: 4, width: 1 },
};
const NAMES = Object.keys(COURSES) as (keyof typeof COURSES)[];
type Course = "steady" | "fading" | "rising" | "pulsing" | "painted";

/** The name of a schedule's course. */
export function course(schedule: Schedule | undefined): Course {
  return NAMES.find((name) => COURSES[name]?.kind === schedule?.kind) ?? "painted";
}

/** The courses to choose from, the edit's own among them. */
export function courses(schedule: Schedule | undefined): readonly Course[] {
  return course(schedule) === "painted" ? [...NAMES, "painted"] : NAMES;
}

/** The edit on another course: as recommended for its feature, where that is such a one. */
export function withCourse(edit: Edit, to: Course, feature: SteeringFeature | undefined): Edit {
  if (to === course(edit.schedule) || to === "painted") return edit;
  const { schedule: _, ...steady } = edit;
  const best = feature?.push?.schedule;
  const schedule = best && course(best) === to ? best : COURSES[to];
  return schedule ? { ...steady, schedule } : steady;
}

/** How much of an edit is done when, in words. */
export function scheduled(schedule: Schedule | undefined): string {
  switch (schedule?.kind) {
    case "ramp":
      return `rising over ${schedule.over} tokens`;
    case "decay":
      return `halved every ${schedule.half} tokens`;
    case "pulse":
      return `${schedule.width} of every ${schedule.every} tokens`;
    case "values":
      return `painted on ${count(schedule.values.filter(Boolean).length, "token")}, by place: the same places of any text`;
    default:
      return "all of it at every token";
  }
}

/** When an edit acts, in words; empty where it always does. */
export function awaited(when: Condition | undefined): string {
  return when ? `when ${said(when)}` : "";
}

function said(when: Condition): string {
  if ("both" in when) return when.both.map(inner).join(" and ");
  if ("either" in when) return when.either.map(inner).join(" or ");
  if ("not" in when) return `not (${said(when.not)})`;
  const where = when.over === "prompt" ? " in the prompt" : "";
  if ("near" in when) return `near a direction (cosine > ${when.above})${where}`;
  return `${when.fires} ${when.above === 0 ? "fires" : `> ${when.above}`}${where}`;
}

/** A part of a condition, in brackets where it has parts itself. */
function inner(when: Condition): string {
  return "both" in when || "either" in when ? `(${said(when)})` : said(when);
}

/**
 * The edit with `factor` times its strength; a scale goes that share of its way from 1. At 0 it is
 * off: a value set to 0 would be an edit still.
 */
export function scaled(edit: Edit, factor: number): Edit {
  if (edit.strength === undefined || edit.on === false) return edit;
  return factor === 0 ? { ...edit, on: false } : { ...edit, strength: times(edit, factor) };
}

/** From where a factor counts a strength. */
export const still = ({ op }: Edit): number => (op === "scale" ? 1 : 0);

/** The strength of an edit, multiplied. */
export function times(edit: Edit, factor: number): number {
  const from = still(edit);
  return from + factor * ((edit.strength ?? 0) - from);
}

/** What `edits` have to be multiplied by to become `now`; null where no factor makes them so. */
export function factorBetween(edits: readonly Edit[], now: readonly Edit[]): number | null {
  const moves = (edit: Edit) => scaled(edit, 2).strength !== edit.strength;
  const place = edits.findIndex(moves);
  const [one, two] = [edits[place], now[place]];
  if (one?.strength === undefined || two?.strength === undefined) return null;
  const none = edits.map((edit) => scaled(edit, 0));
  const bare = ({ strength: _, ...rest }: Edit) => rest;
  if (sameEdits(none, now)) return 0;
  const factor = (two.strength - still(one)) / (one.strength - still(one));
  const close = (a: number | undefined, b: number | undefined) =>
    a === b || Math.abs((a ?? Number.NaN) - (b ?? Number.NaN)) < 1e-6;
  const same =
    edits.length === now.length &&
    edits.every((edit, i) =>
      close(moves(edit) ? times(edit, factor) : edit.strength, now[i]?.strength),
    ) &&
    sameEdits(edits.map(bare), now.map(bare));
  return same ? factor : null;
}

/** Only the edit at `place` is on; if that is so already, all are. */
export function solo(edits: readonly Edit[], place: number): Edit[] {
  const alone = edits.every((edit, i) => isOn(edit) === (i === place));
  return edits.map((edit, i) => ({ ...edit, on: alone || i === place }));
}

/** Whether two lists of edits do the same, however their keys are ordered. */
export function sameEdits(a: readonly Edit[], b: readonly Edit[]): boolean {
  return a === b || (a.length === b.length && spelled(a) === spelled(b));
}

/** Edits as one text, with what is left out filled in. */
function spelled(edits: readonly Edit[]): string {
  const whole = edits.map((edit) =>
    Object.entries({ ...edit, on: isOn(edit), where: edit.where ?? "all" })
      .filter(([, value]) => value !== null && value !== undefined)
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );
  return JSON.stringify(whole);
}

/** A feature of which no more is known than that there is one. */
export function unnamed(sae: string, feature: number): SteeringFeature {
  return { sae, feature, label: "", peak: null, density: null, push: null };
}

/** The features that `query` finds, by number or name: the chosen SAE's first, placebos' last. */
export function search(
  query: string,
  features: readonly SteeringFeature[],
  saes: readonly Sae[],
  chosen: string,
  limit: number,
): SteeringFeature[] {
  const sought = query.trim().toLowerCase();
  const placebo = new Set(saes.filter((sae) => sae.placebo).map((sae) => sae.name));
  const behind = (name: string) => (name === chosen ? 0 : placebo.has(name) ? 10 : 0.5);
  const rank = ({ feature, label, sae }: SteeringFeature): number => {
    const number = String(feature);
    const name = label.toLowerCase();
    const fits = [
      sought === number,
      number.startsWith(sought),
      name.startsWith(sought),
      name.includes(sought),
    ].indexOf(true);
    return fits < 0 ? fits : fits + behind(sae);
  };
  const found = features
    .map((feature) => ({
      feature,
      rank: sought ? rank(feature) : behind(feature.sae),
    }))
    .filter((entry) => entry.rank >= 0)
    .sort((a, b) => a.rank - b.rank)
    .map((entry) => entry.feature);
  // A number is a feature of the chosen SAE even where nobody has named it.
  const own = saes.find((sae) => sae.name === chosen) ?? saes[0];
  if (/^\d+$/.test(sought) && own && Number(sought) < own.width) {
    const index = Number(sought);
    if (!found.some((feature) => feature.feature === index && feature.sae === own.name)) {
      found.unshift(unnamed(own.name, index));
    }
  }
  return found.slice(0, limit);
}
