import { expect, test } from "vitest";
import { brushed, onTokens, overlaid, stroked, told } from "../src/paint";
import type { Painted } from "../src/wire";

const row = (rest: Partial<Painted>): Painted => ({
  sae: "topk",
  feature: 7,
  op: "add",
  unit: "peak",
  on: true,
  values: [0, 0.5, 0, -1],
  ...rest,
});

test("a brush keeps to its limits, and no dust of binary fractions gathers on it", () => {
  expect(brushed(0.5, -1)).toBe(0.45);
  expect(brushed(0.1, 1)).toBe(0.15);
  expect(brushed(0.05, -2)).toBe(0);
  expect(brushed(1.45, 5)).toBe(1.5);
});

test("a stroke covers all columns it passed, in either direction, and no special token", () => {
  const before = [0, 1, 1, 1, 0, 0];
  expect(stroked(before, 3, 1, 0.5, [2])).toEqual([0, 0.5, 1, 0.5, 0, 0]);
  expect(stroked(before, 0, 1, 0, [0])).toEqual([0, 0, 1, 1, 0, 0]);
  expect(before).toEqual([0, 1, 1, 1, 0, 0]);
});

test("what is painted on is as long as the text, and special tokens are left out", () => {
  expect(onTokens([9, 0.5], 4, [0])).toEqual([0, 0.5, 0, 0]);
  expect(onTokens([9, 0.5, 1, 1], 3, [0])).toEqual([0, 0.5, 1]);
});

test("a person's own strokes lie over what the edits have painted, row by row and SAE by SAE", () => {
  const fresh = (feature: number) => row({ feature, unit: "norm", values: [] });
  const known = [row({ op: "set", unit: "" }), row({ values: [1] }), row({ sae: "frozen" })];
  const drafts = [
    { sae: "topk", feature: 7, values: [0, 2] },
    { sae: "topk", feature: 8, values: [0, 3] },
    { sae: "frozen", feature: 9, values: [0, 4] },
  ];
  const rows = overlaid(known, drafts, "topk", fresh);
  expect([...rows.values()]).toEqual([
    row({ op: "set", unit: "", values: [0, 2] }),
    row({ feature: 8, unit: "norm", values: [0, 3] }),
  ]);
  // Of two edits of a feature the first is painted on.
  expect(overlaid(known, [], "topk", fresh).get(7)?.op).toBe("set");
});

test("what is painted on a token is said with its unit", () => {
  expect(told(row({}), 1)).toBe("painted: 0.50 × peak");
  expect(told(row({ unit: "raw", on: false }), 3)).toBe("painted: −1.00 raw, but off");
  expect(told(row({ op: "ablate", unit: "" }), 1)).toBe("painted: 50 % of “ablate”");
  expect([told(row({}), 2), told(row({}), 9), told(undefined, 1)]).toEqual(["", "", ""]);
});
