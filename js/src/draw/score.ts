/** The score on a canvas: values in, pixels out. Only what the window shows is drawn. */

import { shade } from "../color";
import { full, type Layout, LONGEST, LONGEST_SPECIAL, ROW, visible, type Window } from "../layout";
import { STRONGEST } from "../paint";
import { type Cells, firstFrom, type Painted, type View } from "../wire";

export interface Palette {
  ramp: string[];
  page: string;
  ink: string;
  soft: string;
  line: string;
  well: string;
  warm: string;
  accent: string;
  mono: string;
  prose: string;
}

export interface Score {
  view: View;
  cells: Cells;
  /** Index into `view.features` of each shown row. */
  order: number[];
  /** What a full shade stands for when all rows share one scale; null for each one's peak. */
  largest: number | null;
  /** What is painted on the tokens, by feature. */
  painted: ReadonlyMap<number, Painted>;
  /** The selected feature and the clicked token. */
  selected: number | null;
  token: number | null;
  /** Shown row and column under the pointer, and where the keyboard is. */
  hover: { row: number | null; column: number | null } | null;
  focus: { row: number; column: number } | null;
}

const GAP = 1;
const SLANT = -Math.PI / 4;

/** Draw the part of `score` that `window` shows. */
export function drawScore(
  canvas: HTMLCanvasElement,
  score: Score,
  at: Layout,
  window: Window,
  palette: Palette,
  ratio: number,
): void {
  const width = Math.round(window.width * ratio);
  const height = Math.round(window.height * ratio);
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
    canvas.style.width = `${window.width}px`;
    canvas.style.height = `${window.height}px`;
  }
  const g = canvas.getContext("2d");
  if (!g) return;
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, window.width, window.height);
  g.textBaseline = "middle";
  const pen: Pen = { g, score, at, window, palette, seen: visible(at, window) };
  const top = at.header + at.strip;
  clipped(g, at.names, top, window.width, window.height, () => drawCells(pen));
  clipped(g, at.names, top, window.width, window.height, () => drawPainted(pen));
  // Marks stand a little outside of their cells, those of the first row and column too.
  clipped(g, at.names - 3, top - 3, window.width, window.height, () => drawMarks(pen));
  clipped(g, 0, top, at.names, window.height, () => drawNames(pen));
  clipped(g, at.names - 18, 0, window.width, top, () => drawTokens(pen));
}

interface Pen {
  g: CanvasRenderingContext2D;
  score: Score;
  at: Layout;
  window: Window;
  palette: Palette;
  seen: ReturnType<typeof visible>;
}

const x = (pen: Pen, column: number): number =>
  pen.at.names + column * pen.at.column - pen.window.left;
const y = (pen: Pen, row: number): number =>
  pen.at.header + pen.at.strip + row * ROW - pen.window.top;

function drawCells(pen: Pen): void {
  const { g, score, at, palette, seen } = pen;
  const { view, cells } = score;
  const left = x(pen, seen.firstColumn);
  const right = x(pen, seen.lastColumn + 1) - GAP;
  const special = new Set(view.special);

  for (let row = seen.firstRow; row <= seen.lastRow; row++) {
    const index = score.order[row];
    const feature = index === undefined ? undefined : view.features[index];
    if (index === undefined || !feature) continue;
    const top = y(pen, row);
    g.fillStyle = palette.well;
    g.fillRect(left, top, right - left, ROW - GAP);

    const one = full(feature, score.largest);
    const end = cells.start[index + 1] ?? 0;
    for (let i = firstFrom(cells, index, seen.firstColumn); i < end; i++) {
      const column = cells.column[i] ?? 0;
      if (column > seen.lastColumn) break;
      if (special.has(column)) continue;
      g.fillStyle = shade(palette.ramp, (cells.value[i] ?? 0) / one);
      g.fillRect(x(pen, column), top, at.column - GAP, ROW - GAP);
    }
  }

  // The gaps between columns, over the whole height: cheaper than leaving them in each row.
  const top = y(pen, seen.firstRow);
  const bottom = y(pen, seen.lastRow + 1);
  for (let column = seen.firstColumn; column <= seen.lastColumn; column++) {
    g.clearRect(x(pen, column + 1) - GAP, top, GAP, bottom - top);
  }
  for (const column of view.special) {
    if (column < seen.firstColumn || column > seen.lastColumn) continue;
    g.strokeStyle = palette.line;
    g.lineWidth = 1;
    g.beginPath();
    for (let row = seen.firstRow; row <= seen.lastRow; row++) {
      g.moveTo(x(pen, column) + 3, y(pen, row) + ROW - 5);
      g.lineTo(x(pen, column + 1) - 4, y(pen, row) + 3);
    }
    g.stroke();
  }
}

/** The least height of a painted bar: weak is not nothing. */
const LOW = 3;

/**
 * What is painted, as bars in their cells: standing for what pushes up, hanging for what pushes down,
 * hollow where the edit is off. A rim of the page's colour parts them from any shade of the cell.
 */
function drawPainted(pen: Pen): void {
  const { g, score, at, palette, seen } = pen;
  const special = new Set(score.view.special);
  const inset = at.column < 28 ? 4 : 7;
  const width = at.column - GAP - 2 * inset;
  const room = ROW - GAP - 1;
  for (let row = seen.firstRow; row <= seen.lastRow; row++) {
    const feature = score.view.features[score.order[row] ?? -1]?.feature;
    const painted = feature === undefined ? undefined : score.painted.get(feature);
    if (!painted) continue;
    for (let column = seen.firstColumn; column <= seen.lastColumn; column++) {
      const value = painted.values[column] ?? 0;
      if (value === 0 || special.has(column)) continue;
      const height = Math.max(LOW, Math.round(room * Math.min(1, Math.abs(value) / STRONGEST)));
      const left = x(pen, column) + inset;
      const top = y(pen, row) + (value > 0 ? ROW - GAP - height : 0);
      g.fillStyle = palette.page;
      g.fillRect(left - 1, value > 0 ? top - 1 : top, width + 2, height + 1);
      g.fillStyle = palette.warm;
      g.fillRect(left, top, width, height);
      if (painted.on) continue;
      g.fillStyle = palette.page;
      g.fillRect(left + 1, top + 1, width - 2, height - 2);
    }
  }
}

/** The pointer's row and column, the chosen cell, the keyboard's cell. */
function drawMarks(pen: Pen): void {
  const { g, score, at, palette } = pen;
  const { hover, focus, token } = score;
  const chosen = score.order.findIndex(
    (index) => score.view.features[index]?.feature === score.selected,
  );
  if (hover && hover.row !== null && hover.column !== null) {
    box(pen, hover.row, hover.column, palette.soft, 1);
  }
  if (token !== null && chosen >= 0) box(pen, chosen, token, palette.warm, 2);
  if (focus) {
    box(pen, focus.row, focus.column, palette.page, 4);
    box(pen, focus.row, focus.column, palette.accent, 2);
  }
  if (token !== null) {
    g.fillStyle = palette.warm;
    g.fillRect(x(pen, token), at.header + at.strip - 2, at.column - GAP, 2);
  }
}

function box(pen: Pen, row: number, column: number, color: string, width: number): void {
  pen.g.strokeStyle = color;
  pen.g.lineWidth = width;
  pen.g.strokeRect(x(pen, column) - 0.5, y(pen, row) - 0.5, pen.at.column - GAP + 1, ROW - GAP + 1);
}

function drawNames(pen: Pen): void {
  const { g, score, at, palette, seen } = pen;
  const room = at.names - 56;
  for (let row = seen.firstRow; row <= seen.lastRow; row++) {
    const feature = score.view.features[score.order[row] ?? -1];
    if (!feature) continue;
    const top = y(pen, row);
    const selected = feature.feature === score.selected;
    if (selected || score.hover?.row === row) {
      g.fillStyle = palette.well;
      g.fillRect(4, top, at.names - 10, ROW - GAP);
    }
    if (selected) {
      g.fillStyle = palette.accent;
      g.fillRect(0, top, 3, ROW - GAP);
    }
    const middle = top + ROW / 2;
    g.font = `11px ${palette.mono}`;
    g.fillStyle = palette.soft;
    g.textAlign = "right";
    g.fillText(String(feature.feature), 42, middle, 38);
    g.textAlign = "left";
    g.font = `13px ${palette.prose}`;
    g.fillStyle = feature.label ? palette.ink : palette.soft;
    g.fillText(ellipsis(g, feature.label || "no name yet", room), 50, middle);
  }
}

function drawTokens(pen: Pen): void {
  const { g, score, at, palette, seen } = pen;
  const { view } = score;
  const special = new Set(view.special);
  const part = new Set(view.part);
  g.font = `12px ${palette.mono}`;
  g.textAlign = "left";
  // Tokens to the left of the window lean into it.
  const lean = Math.ceil((LONGEST * Math.SQRT1_2) / at.column);
  const first = Math.max(0, seen.firstColumn - lean);
  for (let column = first; column <= seen.lastColumn; column++) {
    const token = view.tokens[column] ?? "";
    const lit = score.hover?.column === column || score.token === column;
    g.save();
    g.translate(x(pen, column) + at.column / 2 - 1, at.header - 9);
    g.rotate(SLANT);
    g.fillStyle = special.has(column) || part.has(column) ? palette.soft : palette.ink;
    if (lit) g.font = `700 12px ${palette.mono}`;
    g.fillText(ellipsis(g, token, special.has(column) ? LONGEST_SPECIAL : LONGEST), 0, 0);
    g.restore();
    if (column < seen.firstColumn) continue;
    const explained = view.explained?.[column];
    if (explained !== undefined) {
      const width = at.column - 4;
      g.fillStyle = palette.well;
      g.fillRect(x(pen, column) + 1.5, at.header, width, 5);
      g.fillStyle = palette.soft;
      if (!special.has(column)) {
        g.fillRect(x(pen, column) + 1.5, at.header, width * Math.min(1, Math.max(0, explained)), 5);
      }
    }
  }
}

/** `text`, cut to `room` pixels in the pen's font. */
function ellipsis(g: CanvasRenderingContext2D, text: string, room: number): string {
  if (g.measureText(text).width <= room) return text;
  const letters = [...text];
  let low = 0;
  let high = letters.length;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    const cut = `${letters.slice(0, middle).join("").trimEnd()}…`;
    if (g.measureText(cut).width <= room) low = middle;
    else high = middle - 1;
  }
  return `${letters.slice(0, low).join("").trimEnd()}…`;
}

function clipped(
  g: CanvasRenderingContext2D,
  left: number,
  top: number,
  right: number,
  bottom: number,
  draw: () => void,
): void {
  g.save();
  g.beginPath();
  g.rect(left, top, Math.max(0, right - left), Math.max(0, bottom - top));
  g.clip();
  draw();
  g.restore();
}
