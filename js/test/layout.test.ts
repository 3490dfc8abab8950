import { expect, test } from "vitest";
import { arrange, columnAt, layout, placeAt, ROW, reveal, visible } from "../src/layout";
import type { Cells, FeatureRow } from "../src/wire";

const feature = (n: number, rest: Partial<FeatureRow>): FeatureRow => ({
  feature: n,
  label: "",
  peak: 10,
  density: 0.01,
  max: 1,
  mean: 1,
  share: 0.1,
  ...rest,
});

const NONE: Cells = {
  start: new Uint32Array(9),
  column: new Uint32Array(0),
  value: new Float32Array(0),
};

test("a long text keeps columns wide enough to hit, and scrolls", () => {
  const at = layout(1000, Array(2048).fill(30), 200, 3);
  expect(at.column).toBe(20);
  expect(at.width).toBeGreaterThan(2048 * 20);
});

test("a short text does not stretch over the whole width", () => {
  expect(layout(1000, [30, 30, 30], 5, 3).column).toBe(38);
});

test("a text that fits does not scroll", () => {
  const at = layout(848, Array(17).fill(70), 12, 9);
  expect(at.width).toBeLessThanOrEqual(848);
});

test("only what a window shows is drawn, however long the text and the list", () => {
  const at = layout(1000, Array(2048).fill(30), 200, 3);
  const seen = visible(at, { left: 10_000, top: 1_000, width: 1000, height: 400 });
  expect(seen.firstColumn).toBe(500);
  expect(seen.lastColumn - seen.firstColumn).toBeLessThan(1000 / 20);
  expect(seen.firstRow).toBe(45);
  expect(seen.lastRow - seen.firstRow).toBeLessThan(400 / ROW);
});

test("a place under the pointer is a cell, a name, a token, or nothing", () => {
  const at = layout(1000, Array(100).fill(30), 50, 3);
  const window = { left: 40, top: 44, width: 1000, height: 300 };
  const top = at.header + at.strip;
  expect(placeAt(at, window, at.names + 1, top + 1)).toEqual({ row: 2, column: 2 });
  expect(placeAt(at, window, 10, top + 1)).toEqual({ row: 2, column: null });
  expect(placeAt(at, window, at.names + 21, 5)).toEqual({ row: null, column: 3 });
  expect(placeAt(at, window, 10, 5)).toBeNull();
  expect(placeAt(at, { ...window, left: 1_900 }, 900, top + 1)).toBeNull();
});

test("a column is counted on beyond the window and the text, where a stroke may lead", () => {
  const at = layout(1000, Array(9).fill(30), 5, 3);
  const window = { left: 40, top: 0, width: 300, height: 300 };
  expect(columnAt(at, window, at.names)).toBe(Math.floor(40 / at.column));
  expect(columnAt(at, window, at.names - 41)).toBe(-1);
  expect(columnAt(at, window, at.names - 40 + 12 * at.column)).toBe(12);
});

test("the keyboard's cell is brought into view, and the window moves no further", () => {
  const at = layout(1000, Array(100).fill(30), 50, 3);
  const window = { left: 0, top: 0, width: at.names + 200, height: at.header + at.strip + 110 };
  expect(reveal(at, window, 0, 3)).toEqual([0, 0]);
  expect(reveal(at, window, 7, 12)).toEqual([13 * 20 - 200, 8 * ROW - 110]);
  expect(reveal(at, { ...window, left: 500, top: 300 }, 2, 4)).toEqual([80, 44]);
});

test("features are sorted as asked, and dense ones are hidden", () => {
  const features = [
    feature(7, { max: 2, peak: 4, mean: 1, share: 0.5 }), // 0.5 × peak
    feature(3, { max: 9, peak: 10, mean: 2, share: 0.2 }), // 0.9 × peak
    feature(5, { max: 3, peak: 3, mean: 3, share: 0.9, density: 0.4 }), // 1 × peak
  ];
  const by = (sort: "max" | "mean" | "share" | "index", dense = 1, largest: number | null = null) =>
    arrange(features, sort, dense, NONE, null, largest).map((i) => features[i]?.feature);
  expect(by("max")).toEqual([5, 3, 7]);
  expect(by("max", 1, 9)).toEqual([3, 5, 7]); // one scale for all: the largest value wins
  expect(by("mean")).toEqual([5, 3, 7]);
  expect(by("share")).toEqual([5, 7, 3]);
  expect(by("index")).toEqual([3, 5, 7]);
  expect(by("max", 0.05)).toEqual([3, 7]);
});

test("features are sorted by their value at the chosen token", () => {
  const features = [feature(7, {}), feature(3, {}), feature(5, {})];
  const cells: Cells = {
    start: Uint32Array.from([0, 1, 2, 3]),
    column: Uint32Array.from([4, 4, 2]),
    value: Float32Array.from([1, 3, 9]),
  };
  expect(arrange(features, "token", 1, cells, 4, null)).toEqual([1, 0, 2]);
});
