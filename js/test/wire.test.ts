import { expect, test } from "vitest";
import { cardOf, decodeCells, firstFrom, half, valueAt } from "../src/wire";

/** Numbers as bytes that begin at an odd place of a larger buffer, as a comm delivers them. */
function bytes(numbers: number[], size: 2 | 4): DataView {
  const buffer = new ArrayBuffer(3 + numbers.length * size);
  const view = new DataView(buffer, 3);
  numbers.forEach((n, i) => {
    if (size === 2) view.setUint16(2 * i, n, true);
    else view.setUint32(4 * i, n, true);
  });
  return view;
}

test.each([
  [0x0000, 0],
  [0x3c00, 1],
  [0xc200, -3],
  [0x3555, 0.333251953125],
  [0x0001, 2 ** -24],
  [0x03ff, 1023 * 2 ** -24],
  [0x7bff, 65504],
  [0x7c00, Number.POSITIVE_INFINITY],
  [0x7e00, Number.NaN],
])("the float16 %#x is %d", (bits, value) => {
  expect(half(bits)).toBe(value);
});

const ABOUT = { peak: 4, density: 0.1, max: 1, mean: 1, share: 1 };
const SHOWN = {
  id: 3,
  sae: "topk",
  features: [
    { ...ABOUT, feature: 7, label: "seven" },
    { ...ABOUT, feature: 2, label: "" },
  ],
};
const CARDS = { id: 3, vocab: ["·a", "·b"], bins: 2, likely: 1, unlikely: 1, note: "so" };
// Counts of 1 and 0.5, then a place and a score on each side.
const FACTS = bytes([0x3c00, 0x3800, 0, 0x3800, 1, 0xc000, 0, 0x3c00, 1, 0x3555, 0, 0xc200], 2);

test("the card of each row is read from its own bytes", () => {
  expect(cardOf(SHOWN, 1, CARDS, FACTS)).toMatchObject({
    feature: 2,
    sae: "topk",
    histogram: [0, 1],
    likely: [["·b", 0.333251953125]],
    unlikely: [["·a", -3]],
    note: "so",
  });
  expect(cardOf(SHOWN, 0, CARDS, FACTS)?.histogram).toEqual([1, 0.5]);
  expect(cardOf(SHOWN, 0, { ...CARDS, bins: 0 }, FACTS)?.histogram).toBeNull();
});

test("there is no card of another view, of no row, or beyond the bytes", () => {
  expect(cardOf({ ...SHOWN, id: 4 }, 1, CARDS, FACTS)).toBeNull();
  expect(cardOf(SHOWN, -1, CARDS, FACTS)).toBeNull();
  expect(cardOf(SHOWN, 1, { ...CARDS, bins: 3 }, FACTS)).toBeNull();
  expect(cardOf(SHOWN, 1, {}, FACTS)).toBeNull();
});

test("cells are sorted by row and column, whatever order they come in", () => {
  const row = bytes([2, 0, 2, 0], 2);
  const column = bytes([70_000, 3, 1, 0], 4);
  const value = bytes([0x3c00, 0x4000, 0x4200, 0x4400], 2); // 1, 2, 3, 4
  const cells = decodeCells(row, column, value, 3);

  expect([...cells.start]).toEqual([0, 2, 2, 4]);
  expect([...cells.column]).toEqual([0, 3, 1, 70_000]);
  expect([...cells.value]).toEqual([4, 2, 3, 1]);
});

test("a cell that is not sent is zero", () => {
  const cells = decodeCells(bytes([1], 2), bytes([5], 4), bytes([0x4000], 2), 2);
  expect(valueAt(cells, 1, 5)).toBe(2);
  expect(valueAt(cells, 1, 4)).toBe(0);
  expect(valueAt(cells, 0, 5)).toBe(0);
  expect(valueAt(cells, 9, 5)).toBe(0);
});

test("cells of rows that the view does not have are left out", () => {
  const cells = decodeCells(bytes([7, 0], 2), bytes([1, 1], 4), bytes([0x3c00, 0x4000], 2), 1);
  expect([...cells.value]).toEqual([2]);
});

test("drawing starts at the first cell that can be seen", () => {
  const cells = decodeCells(bytes([0, 0, 0], 2), bytes([2, 5, 9], 4), bytes([1, 1, 1], 2), 1);
  expect([0, 2, 3, 6, 10].map((column) => firstFrom(cells, 0, column))).toEqual([0, 0, 1, 2, 3]);
});
