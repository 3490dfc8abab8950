/** Where everything in a score stands: pure geometry, in CSS pixels. */

import { type Cells, type FeatureRow, type Sort, valueAt } from "./wire";

export const ROW = 22;
const NARROWEST = 20;
const WIDEST = 38;
/** Rows that a score shows before it scrolls. */
export const ROWS = 16;

export interface Layout {
  /** Width of the column of names, which stays in place while the score scrolls. */
  names: number;
  /** Height of the tokens above the rows. */
  header: number;
  /** Height of the thin strips between the tokens and the rows. */
  strip: number;
  column: number;
  columns: number;
  rows: number;
  /** The whole score, of which the window shows a part. */
  width: number;
  height: number;
}

/** Tokens are cut at this many pixels; the names of special ones much sooner. */
export const LONGEST = 110;
export const LONGEST_SPECIAL = 44;

/** Fit a score of tokens, `lengths` pixels long each, and `rows` features to `available` pixels. */
export function layout(
  available: number,
  lengths: readonly number[],
  rows: number,
  strip: number,
): Layout {
  const names = available < 480 ? 148 : available < 640 ? 180 : 220;
  // A slanted token rises by its length times the sine, and leans as far to the right.
  const leans = lengths.map((length) => Math.SQRT1_2 * Math.min(length, LONGEST));
  const header = 20 + Math.ceil(Math.max(17, ...leans));
  const columns = lengths.length;
  const overhang = Math.ceil(
    Math.max(8, ...leans.map((lean, i) => lean - (columns - 1 - i) * NARROWEST)),
  );
  const fitting = Math.floor((available - names - overhang) / Math.max(1, columns));
  const column = Math.max(NARROWEST, Math.min(WIDEST, fitting));
  return {
    names,
    header,
    strip,
    column,
    columns,
    rows,
    width: names + column * columns + overhang,
    height: header + strip + ROW * rows + 6,
  };
}

export interface Window {
  left: number;
  top: number;
  width: number;
  height: number;
}

export interface Visible {
  firstRow: number;
  lastRow: number;
  firstColumn: number;
  lastColumn: number;
}

/** The rows and columns that a window shows, both ends included; empty when last < first. */
export function visible(at: Layout, window: Window): Visible {
  const below = window.height - at.header - at.strip;
  return {
    firstRow: Math.max(0, Math.floor(window.top / ROW)),
    lastRow: Math.min(at.rows - 1, Math.floor((window.top + below - 1) / ROW)),
    firstColumn: Math.max(0, Math.floor(window.left / at.column)),
    lastColumn: Math.min(
      at.columns - 1,
      Math.floor((window.left + window.width - at.names - 1) / at.column),
    ),
  };
}

export interface Place {
  /** Place in the sorted rows; null over the tokens. */
  row: number | null;
  /** Position of the token; null over the names. */
  column: number | null;
}

/** What lies at `x`, `y` of the window; null where there is nothing. */
export function placeAt(at: Layout, window: Window, x: number, y: number): Place | null {
  const top = at.header + at.strip;
  const row = y < top ? null : Math.floor((y - top + window.top) / ROW);
  const column = x < at.names ? null : columnAt(at, window, x);
  if (row !== null && row >= at.rows) return null;
  if (column !== null && column >= at.columns) return null;
  return row === null && column === null ? null : { row, column };
}

/** The column at `x`, also beyond the window and beyond the text. */
export function columnAt(at: Layout, window: Window, x: number): number {
  return Math.floor((x - at.names + window.left) / at.column);
}

/** The scroll position that brings a cell into the window, moving no further than needed. */
export function reveal(at: Layout, window: Window, row: number, column: number): [number, number] {
  const x = column * at.column;
  const y = row * ROW;
  const width = window.width - at.names;
  const height = window.height - at.header - at.strip;
  return [
    Math.max(0, Math.min(x, Math.max(window.left, x + at.column - width))),
    Math.max(0, Math.min(y, Math.max(window.top, y + ROW - height))),
  ];
}

/** What one full shade of the ramp stands for, for a feature: its peak, or the text's largest. */
export function full(feature: FeatureRow, largest: number | null): number {
  return largest ?? (feature.peak && feature.peak > 0 ? feature.peak : feature.max || 1);
}

/**
 * The order in which features are shown, as indexes into `features`: those denser than `dense`
 * left out, and ties in their given order, strongest first.
 */
export function arrange(
  features: readonly FeatureRow[],
  sort: Sort,
  dense: number,
  cells: Cells,
  token: number | null,
  largest: number | null,
): number[] {
  const key = (i: number): number => {
    const feature = features[i];
    if (!feature) return 0;
    if (sort === "index") return -feature.feature;
    if (sort === "mean" || sort === "share") return feature[sort];
    const value = sort === "max" ? feature.max : token === null ? 0 : valueAt(cells, i, token);
    return value / full(feature, largest);
  };
  return features
    .map((_, i) => i)
    .filter((i) => dense >= 1 || (features[i]?.density ?? 0) <= dense)
    .sort((a, b) => key(b) - key(a) || a - b);
}
