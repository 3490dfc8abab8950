import { expect, test } from "vitest";
import { replayOf, takeOf, takesOf, ticksOf } from "../src/replay";
import type { Edit, Recorded } from "../src/wire";

const SEA: Edit = { op: "add", feature: 131, strength: 0.3, unit: "peak", where: "all", sae: "k" };
const RECORDED: Recorded = {
  prompt: "the",
  given: ["the"],
  length: 3,
  temperature: 0,
  takes: [{ edit: { ...SEA, strength: 1 }, seed: 4, peaks: true, strengths: [0.5, -1] }],
  vocab: [" oven", " sea", " salt"],
};
const NLL = 0x3e00; // 1.5
const NOTHING = 0x7e00; // NaN
const KL = 0x3000; // 0.125

/** An arm: how many tokens, at how many positions, what was found, the tokens, the strip. */
const arm = (tokens: number[], strip: number[]) => [
  tokens.length,
  ...[1, tokens.length],
  ...[NLL, NOTHING, KL, 0xb800, 0x3c00, 0x3400],
  ...tokens,
  ...strip,
];
const NUMBERS = [...arm([0], []), ...arm([1, 2], [0, KL]), ...arm([0, 0, 0], [0, 0])];

/** At an odd place in a larger buffer, as Jupyter hands bytes over. */
function bytes(numbers: readonly number[]): DataView {
  const view = new DataView(new ArrayBuffer(2 * numbers.length + 3), 3);
  for (const [i, number] of numbers.entries()) view.setUint16(2 * i, number, true);
  return view;
}

const NOW = { prompt: "the", length: 3, temperature: 0, seed: 4, control: "" as const };
const takes = takesOf(RECORDED, bytes(NUMBERS));

test("bytes become texts, what they cost, and a strip", () => {
  const [base, half, back] = takes[0]?.arms ?? [];
  expect(base).toEqual({
    factor: 0,
    tokens: [" oven"],
    nll: 1.5,
    concept: null,
    kl: 0.125,
    surprise: -0.5,
    distinct: 1,
    ratio: 0.25,
    positions: [1, 1],
    strip: [],
  });
  expect([half?.factor, half?.tokens, half?.strip]).toEqual([0.5, [" sea", " salt"], [0, 0.125]]);
  expect([back?.factor, back?.tokens]).toEqual([-1, [" oven", " oven", " oven"]]);
});

test("the ticks of an edit are its strengths and that of no edit, whatever strength it has now", () => {
  expect(ticksOf(takes, { ...SEA, strength: 9, on: false }, 4)).toEqual([-1, 0, 0.5]);
  expect(ticksOf(takes, SEA, 5)).toEqual([]);
  for (const other of [{ unit: "norm" }, { feature: 1 }, { where: "prompt" }, { sae: "x" }]) {
    expect(takeOf(takes, { ...SEA, ...other } as Edit, 4)).toBeUndefined();
  }
});

test("what was recorded is shown as a run, its strip and its curve", () => {
  const off: Edit = { ...SEA, feature: 7, on: false };
  const edits = [off, { ...SEA, strength: 0.5 }];
  const found = replayOf(["the"], takes, { ...NOW, edits }, 12);
  expect(found?.run.request).toEqual({ ...NOW, edits, id: 12 });
  expect(found?.run.arms.map(({ name, tokens }) => [name, tokens])).toEqual([
    ["base", [" oven"]],
    ["steered", [" sea", " salt"]],
  ]);
  expect(found?.run.positions).toEqual([1, 2]);
  expect([found?.effects.tokens, found?.effects.given, found?.effects.kl]).toEqual([
    ["the", " oven"],
    1,
    [0, 0.125],
  ]);
  expect(found?.sweep?.arms?.map(({ factor }) => factor)).toEqual([-1, 0, 0.5]);
  expect(found?.sweep?.request?.edits.map(({ strength }) => strength)).toEqual([0.3, 1]);
});

test("the strength that does nothing, and no edit at all, show the unsteered text twice", () => {
  for (const edits of [[{ ...SEA, strength: 0 }], [{ ...SEA, on: false }], []]) {
    const found = replayOf(["the"], takes, { ...NOW, edits }, 1);
    expect(found?.run.arms.map(({ tokens }) => tokens)).toEqual([[" oven"], [" oven"]]);
    expect(found?.effects.kl).toBeUndefined();
  }
});

test.each([
  ["another strength", { edits: [{ ...SEA, strength: 0.4 }] }],
  ["another seed", { seed: 5, edits: [] }],
  ["a control", { control: "random" as const, edits: [] }],
  ["two edits", { edits: [SEA, SEA] }],
  ["another edit", { edits: [{ ...SEA, op: "set" as const, strength: 0.5 }] }],
])("of %s, nothing was recorded", (_, now) => {
  expect(replayOf(["the"], takes, { ...NOW, ...now }, 1)).toBeNull();
});

test("a scale is drawn from where it changes nothing", () => {
  const edit: Edit = { op: "scale", feature: 131, strength: 1 };
  const scale = { ...RECORDED, takes: [{ edit, seed: 4, peaks: false, strengths: [3] }] };
  const made = takesOf(scale, bytes([...arm([0], []), ...arm([1], [0, 0])]));
  const found = replayOf(["the"], made, { ...NOW, edits: [{ ...edit, strength: 3 }] }, 1);
  expect(found?.sweep?.arms?.map(({ factor }) => factor)).toEqual([0, 2]);
  expect(found?.sweep?.request?.edits[0]?.strength).toBe(2);
  expect(ticksOf(made, edit, 4)).toEqual([1, 3]);
});

const hostile: [string, Partial<Record<keyof Recorded, unknown>>, number[]][] = [
  ["too few bytes", {}, NUMBERS.slice(0, -1)],
  ["no bytes", {}, []],
  ["a count beyond its bytes", {}, [0xffff, ...NUMBERS.slice(1)]],
  ["a token beyond the vocabulary", { vocab: ["a"] }, NUMBERS],
  ["a token that is no text", { vocab: [{}, null, 3] }, NUMBERS],
  ["a vocabulary that is none", { vocab: { length: 3 } }, NUMBERS],
  ["a prompt that is no text", { given: [{ toString: 1 }] }, NUMBERS],
  ["a prompt that is no list", { given: 7 }, NUMBERS],
  ["takes that are none", { takes: "x" }, NUMBERS],
  ["a take without strengths", { takes: [{ ...RECORDED.takes[0], strengths: 1e9 }] }, NUMBERS],
  ["a strength that is none", { takes: [{ ...RECORDED.takes[0], strengths: ["0.5"] }] }, NUMBERS],
  ["a take without an edit", { takes: [{ ...RECORDED.takes[0], edit: null }] }, NUMBERS],
];
test.each(hostile)("of a recording with %s, nothing is shown", (_, change, numbers) => {
  expect(takesOf({ ...RECORDED, ...change } as Recorded, bytes(numbers))).toEqual([]);
});

test("a vocabulary that is longer than two bytes count has places of four", () => {
  const vocab = Array.from({ length: 65_537 }, (_, i) => `t${i}`);
  const wide = (place: number) => [place & 0xffff, place >> 16];
  const numbers = [1, 0, 0, 0, 0, 0, 0, 0, 0, ...wide(65_536)];
  const takes = [{ edit: SEA, seed: 0, peaks: true, strengths: [] }];
  expect(takesOf({ ...RECORDED, vocab, takes }, bytes(numbers))[0]?.arms[0]?.tokens).toEqual([
    "t65536",
  ]);
});

test("what is whole of a recording that is cut off is there", () => {
  const twice = { ...RECORDED, takes: [...RECORDED.takes, ...RECORDED.takes] };
  expect(takesOf(twice, bytes([...NUMBERS, 1, 2, 3]))).toHaveLength(1);
});
