import { expect, test } from "vitest";
import {
  fork,
  moved,
  number,
  parseNumber,
  percent,
  seconds,
  segments,
  signed,
  strength,
} from "../src/text";

test.each([
  [0, "0.00"],
  [-0.456, "−0.46"],
  [6.4166, "6.42"],
  [12.34, "12.3"],
  [1234.5, "1235"],
  [0.0004, "4e−4"],
  [null, "–"],
  [Number.NaN, "–"],
])("the value %d reads %s", (value, text) => {
  expect(number(value)).toBe(text);
});

test.each([
  [0.019, "1.9 %"],
  [0.05, "5 %"],
  [0.31, "31 %"],
  [0.00042, "0.04 %"],
  [0.00001, "< 0.01 %"],
  [0, "0 %"],
])("the share %d reads %s", (share, text) => {
  expect(percent(share)).toBe(text);
});

test("a logit always carries its sign, and a minus is a minus", () => {
  expect([signed(2.9), signed(-1.84), signed(12.3)]).toEqual(["+2.9", "−1.8", "+12"]);
});

test("a strength is written as short as it can be, and read with either minus or a comma", () => {
  expect([strength(0.48), strength(-0.1), strength(2)]).toEqual(["0.48", "−0.1", "2"]);
  expect(["−0.1", "-0.1", "0,48", " 3 "].map(parseNumber)).toEqual([-0.1, -0.1, 0.48, 3]);
  expect(["", "x", "1e999"].map(parseNumber)).toEqual([null, null, null]);
});

test("times are short", () => {
  expect([0.001, 0.114, 3.26, 75, 119.7].map(seconds)).toEqual([
    "< 0.01 s",
    "0.11 s",
    "3.3 s",
    "1 min 15 s",
    "2 min 0 s",
  ]);
});

test("texts part at the first token that differs, not where one is still being written", () => {
  expect(fork(["a", "b"], ["a", "c", "d"])).toBe(1);
  expect(fork(["a", "b"], ["a"])).toBeNull();
  expect(fork([], [])).toBeNull();
});

test("a word is new if the other text does not have it in that order", () => {
  const base = [" oven", " and", " tasted", " the", " bread", "."];
  const steered = [" harbor", " and", " sailed", " the", " blue", " sea", "!"];
  expect(moved(base, steered)).toEqual([true, false, true, false, true, true, false]);
});

test("neighbouring new words are one stretch, and marks begin after the white space", () => {
  const tokens = [" blue", " sea", " and", " sky"];
  expect(segments(tokens, [true, true, false, true], 0)).toEqual([
    { text: " ", moved: false, fork: false, at: 0 },
    { text: "blue sea", moved: true, fork: true, at: 0 },
    { text: " and ", moved: false, fork: false, at: 2 },
    { text: "sky", moved: true, fork: false, at: 3 },
  ]);
  const apart = segments(tokens, [true, true, false, true], 0, true);
  expect(apart.map(({ text, at }) => [text, at])).toEqual([
    [" ", 0],
    ["blue", 0],
    [" sea", 1],
    [" and", 2],
    [" ", 3],
    ["sky", 3],
  ]);
});

test("stretches put together are the text, spaces and line ends and all", () => {
  const tokens = ["\n", " ", "two", "  words\t", "", "."];
  const joined = (marks: boolean[], at: number | null) =>
    segments(tokens, marks, at)
      .map(({ text }) => text)
      .join("");
  expect(joined([true, true, true, false, true, false], 2)).toBe(tokens.join(""));
  expect(joined([], 4)).toBe(tokens.join(""));
});
