/** Painting on a score: how strongly a row is pushed at each token. Values in, values out. */

import { number, percent } from "./text";
import type { Painted, PaintedRow } from "./wire";

/** The strongest brush, × peak: what fills a cell. */
export const STRONGEST = 1.5;
export const STEP = 0.05;

/** A brush made `steps` stronger, or weaker, within its limits and without binary dust. */
export function brushed(brush: number, steps: number): number {
  const next = Math.min(STRONGEST, Math.max(0, brush + steps * STEP));
  return Number((Math.round(next / STEP) * STEP).toFixed(2));
}

/** What is painted on the tokens of the text that is shown; special ones are never edited. */
export function onTokens(
  values: readonly number[],
  tokens: number,
  special: readonly number[],
): number[] {
  return Array.from({ length: tokens }, (_, i) => (special.includes(i) ? 0 : (values[i] ?? 0)));
}

/** `values` after a stroke from one column to another, both included, in either direction. */
export function stroked(
  values: readonly number[],
  from: number,
  to: number,
  strength: number,
  special: readonly number[],
): number[] {
  const [first, last] = from < to ? [from, to] : [to, from];
  return values.map((value, i) =>
    i < first || i > last || special.includes(i) ? value : strength,
  );
}

/**
 * The rows of one SAE by feature: what the edits have painted, and over it the `drafts` that the
 * kernel does not know yet. A draft of a row that has no edit will be the `fresh` one of its feature.
 */
export function overlaid(
  painted: readonly Painted[],
  drafts: readonly PaintedRow[],
  sae: string,
  fresh: (feature: number) => Painted,
): Map<number, Painted> {
  const rows = new Map<number, Painted>();
  for (const row of painted) {
    if (row.sae === sae && !rows.has(row.feature)) rows.set(row.feature, row);
  }
  for (const { sae: of, feature, values } of drafts) {
    if (of === sae) rows.set(feature, { ...(rows.get(feature) ?? fresh(feature)), values });
  }
  return rows;
}

/** What is painted on one token, in words; empty where nothing is. */
export function told(row: Painted | undefined, column: number): string {
  const value = row?.values[column];
  if (!row || !value) return "";
  const off = row.on ? "" : ", but off";
  if (row.op !== "add") return `painted: ${percent(value)} of “${row.op}”${off}`;
  return `painted: ${number(value)} ${row.unit === "raw" ? "raw" : `× ${row.unit}`}${off}`;
}
