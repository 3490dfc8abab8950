/** Edits as values: what a slider can say about one, and how one becomes another. */

import type { Edit, Operation, Sae, SteeringFeature, Unit } from "./wire";

/** How far a slider reaches, × peak or × norm; farther values can be typed. */
const REACH = 1.2;

/** The strength at which an operation changes nothing; null where no strength does. */
export function neutral(op: Operation): number | null {
  return op === "add" ? 0 : op === "scale" ? 1 : null;
}

/** The ends of an edit's slider. A value beyond them moves the end out to it. */
export function range(edit: Edit, feature: SteeringFeature | undefined): [number, number] {
  const value = edit.strength ?? 0;
  if (edit.op === "scale") return [Math.min(0, value), Math.max(3, value)];
  const one = edit.unit === "raw" ? (feature?.peak ?? 10) : 1;
  const far = REACH * one;
  return edit.op === "set"
    ? [Math.min(0, value), Math.max(far, value)]
    : [-Math.max(far, Math.abs(value)), Math.max(far, Math.abs(value))];
}

/** The strength an edit goes back to: the recommended one, or the one that changes nothing. */
export function resting(
  edit: Edit,
  feature: SteeringFeature | undefined,
  sae: Sae | undefined,
): number {
  if (edit.op === "scale") return 1;
  const recommended = edit.op === "add" ? feature?.strength : null;
  if (recommended === null || recommended === undefined) return 0;
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
  if (op === "ablate") return { ...rest, op };
  if (op === "scale") return { ...rest, op, strength: edit.op === "scale" ? (strength ?? 1) : 2 };
  const next: Edit = { ...rest, op, unit: unit ?? (edit.vector ? "raw" : "peak") };
  const kept = edit.op === "add" || edit.op === "set" ? strength : undefined;
  return { ...next, strength: kept ?? (resting(next, feature, sae) || 0.5) };
}

/** Whether an edit pushes its feature down, up, or not at all. */
export function push(edit: Edit): "up" | "down" | "none" {
  if (edit.op === "ablate") return "down";
  const from = neutral(edit.op) ?? 0;
  const value = edit.strength ?? 0;
  if (edit.op !== "set" && value === from) return "none";
  return value < from ? "down" : "up";
}

/** The edit that a person gets who adds `feature`. */
export function newEdit(feature: SteeringFeature): Edit {
  const { sae, feature: index, strength } = feature;
  return {
    op: "add",
    feature: index,
    strength: strength ?? 0.5,
    unit: "peak",
    where: "all",
    sae,
    on: true,
  };
}

/** The features that `query` finds, by number or name; those of placebos after the others. */
export function search(
  query: string,
  features: readonly SteeringFeature[],
  saes: readonly Sae[],
  limit: number,
): SteeringFeature[] {
  const sought = query.trim().toLowerCase();
  const placebo = new Set(saes.filter((sae) => sae.placebo).map((sae) => sae.name));
  const rank = ({ feature, label, sae }: SteeringFeature): number => {
    const number = String(feature);
    const name = label.toLowerCase();
    const found =
      sought === number
        ? 0
        : number.startsWith(sought)
          ? 1
          : name.startsWith(sought)
            ? 2
            : name.includes(sought)
              ? 3
              : Number.POSITIVE_INFINITY;
    return found + (placebo.has(sae) ? 10 : 0);
  };
  const found = features
    .map((feature) => ({
      feature,
      rank: sought ? rank(feature) : placebo.has(feature.sae) ? 1 : 0,
    }))
    .filter((entry) => entry.rank < Number.POSITIVE_INFINITY)
    .sort((a, b) => a.rank - b.rank)
    .map((entry) => entry.feature);
  // A number is a feature even where nobody has named it.
  const [first] = saes;
  if (/^\d+$/.test(sought) && first && Number(sought) < first.width) {
    const index = Number(sought);
    if (!found.some((feature) => feature.feature === index && feature.sae === first.name)) {
      found.unshift({
        sae: first.name,
        feature: index,
        label: "",
        peak: null,
        density: null,
        strength: null,
      });
    }
  }
  return found.slice(0, limit);
}
