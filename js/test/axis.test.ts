import { expect, test } from "vitest";
import { linear, logarithmic, nearest, place } from "../src/axis";

test("a linear axis goes from nothing to the first round number that holds all", () => {
  expect(linear([3, 17.2, 5])).toMatchObject({ low: 0, high: 20, ticks: [0, 10, 20] });
  expect(linear([0.0016]).ticks).toEqual([0, 0.001, 0.002]);
  expect(linear([100]).high).toBe(100);
  expect(linear([0, Number.NaN]).ticks).toEqual([0, 0.5, 1]);
  expect(linear([]).high).toBe(1);
});

test("a logarithmic axis ends at round numbers and names powers of ten between them", () => {
  expect(logarithmic([0.06, 0.9])).toMatchObject({ low: 0.05, high: 1, ticks: [0.05, 0.1, 1] });
  expect(logarithmic([3, 4]).ticks).toEqual([2, 5]);
  expect(logarithmic([1, 1]).ticks).toEqual([1, 2]);
  expect(logarithmic([0.001, 1000]).ticks).toEqual([0.001, 0.1, 10, 1000]);
  expect(logarithmic([]).ticks).toEqual([0.1, 1]);
  expect(logarithmic([0, -1, Number.POSITIVE_INFINITY, 30]).low).toBe(20);
});

test("names on an axis never touch", () => {
  const { ticks, ...axis } = logarithmic([0.08, 1.5]);
  const places = ticks.map((tick) => place({ ...axis, ticks }, tick));
  expect(places[0]).toBe(0);
  expect(places.at(-1)).toBe(1);
  places.slice(1).forEach((at, i) => {
    expect(at - (places[i] ?? 0)).toBeGreaterThan(0.2);
  });
});

test("a value has its place, and none where a logarithm has none", () => {
  expect(place(linear([8]), 2)).toBe(0.25);
  expect(place(logarithmic([0.01, 1]), 0.1)).toBeCloseTo(0.5);
  expect(place(logarithmic([0.01, 1]), 0)).toBe(Number.NEGATIVE_INFINITY);
  expect(place(logarithmic([0.01, 1]), -1)).toBeNaN();
});

test("the nearest of unequal steps is found", () => {
  expect(nearest([10, 20, 70], 44)).toBe(1);
  expect(nearest([10, 20, 70], 46)).toBe(2);
  expect(nearest([], 3)).toBeNull();
});
