import { expect, test } from "vitest";
import { decodeCells, firstFrom, half, valueAt } from "../src/wire";

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
