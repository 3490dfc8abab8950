import { expect, test } from "vitest";
import {
  awaited,
  convert,
  course,
  courses,
  factorBetween,
  newEdit,
  placed,
  push,
  range,
  resting,
  sameEdits,
  scaled,
  scheduled,
  search,
  step,
  withCourse,
  withOperation,
} from "../src/edits";
import type { Edit, Sae, SteeringFeature } from "../src/wire";

const sea: SteeringFeature = {
  sae: "topk",
  feature: 131,
  label: "sea and ships",
  peak: 6,
  density: 0.02,
  push: {
    op: "add",
    feature: 131,
    strength: 0.48,
    unit: "peak",
    where: "generated",
    schedule: { kind: "decay", half: 5 },
    sae: "topk",
    on: true,
  },
};
const kitchen: SteeringFeature = { ...sea, feature: 13, label: "kitchen", push: null };
const fake: SteeringFeature = { ...sea, sae: "frozen", label: "sea by chance" };
const saes: Sae[] = [
  { name: "topk", title: "TopK", placebo: null, hook: "h", width: 256, norm: 12 },
  { name: "frozen", title: "Frozen", placebo: "never trained", hook: "h", width: 256 },
];
const add: Edit = { op: "add", feature: 131, strength: 0.5, unit: "peak" };

test("a slider has zero in its middle for add, and at its start for set and scale", () => {
  expect(range(add, sea)).toEqual([-1.2, 1.2]);
  expect(range({ ...add, op: "set" }, sea)).toEqual([0, 1.2]);
  expect(range({ ...add, op: "scale" }, sea)).toEqual([0, 3]);
});

test("a slider reaches beyond what is recommended", () => {
  const strong = { ...sea, push: { ...(sea.push as Edit), strength: 2 } };
  expect(range(add, strong)).toEqual([-3, 3]);
  expect(range({ ...add, unit: "raw" }, strong)).toEqual([-18, 18]);
  expect(range({ ...add, unit: "norm" }, strong)).toEqual([-1.2, 1.2]);
});

test("a slider reaches as far in raw units, and out to any value that was typed", () => {
  expect(range({ ...add, unit: "raw" }, sea)[1]).toBeCloseTo(7.2);
  expect(range({ ...add, strength: -5 }, sea)).toEqual([-5, 5]);
});

test("a strength keeps its push when its unit changes", () => {
  expect(convert(0.5, "peak", "raw", sea, saes[0])).toBe(3);
  expect(convert(0.5, "peak", "norm", sea, saes[0])).toBe(0.25);
  expect(convert(3, "raw", "peak", sea, undefined)).toBe(0.5);
  expect(convert(1, "peak", "norm", sea, undefined)).toBeNull();
});

test("a strength goes back to the recommended one, or to where nothing changes", () => {
  expect(resting(add, sea, saes[0])).toBe(0.48);
  expect(resting({ ...add, unit: "raw" }, sea, saes[0])).toBeCloseTo(2.88);
  expect(resting(add, kitchen, saes[0])).toBe(0);
  expect(resting({ ...add, op: "scale" }, sea, saes[0])).toBe(1);
});

test("a turn counts degrees, both ways, and lasts through no other operation", () => {
  const turn = withOperation(add, "rotate", sea, saes[0]);
  expect(turn).toEqual({ op: "rotate", feature: 131, strength: 30 });
  expect(range(turn, sea)).toEqual([-90, 90]);
  expect(step(turn, sea)).toBe(1);
  expect(withOperation(turn, "floor", sea, saes[0])).toMatchObject({ strength: 0.5, unit: "peak" });
  expect(withOperation(add, "ceiling", sea, saes[0])).toMatchObject({ strength: 0.5 });
  expect([turn, { ...turn, strength: -5 }, { ...turn, strength: 0 }].map(push)).toEqual([
    "up",
    "down",
    "none",
  ]);
  expect(push({ ...add, op: "ceiling" })).toBe("down");
});

test("a schedule is chosen by name: the recommended one, where there is one of that name", () => {
  const fading: Edit = { ...add, schedule: { kind: "decay", half: 14 } };
  const painted: Edit = { ...add, schedule: { kind: "values", values: [1, 0] } };
  expect([add, fading, painted].map((edit) => course(edit.schedule))).toEqual([
    "steady",
    "fading",
    "painted",
  ]);
  expect(withCourse(add, "fading", sea).schedule).toEqual({ kind: "decay", half: 5 });
  expect(withCourse(add, "fading", kitchen).schedule).toEqual({ kind: "decay", half: 12 });
  expect(withCourse(fading, "fading", sea)).toEqual(fading);
  expect(withCourse(fading, "steady", sea)).toEqual(add);
  expect(courses(fading.schedule)).not.toContain("painted");
  expect(courses(painted.schedule)).toContain("painted");
});

test("places and schedules are said in words", () => {
  const span = { start: 3, stop: 9, step: 1 };
  const places = ["all", "last", span, { ...span, stop: null, step: 2 }] as const;
  expect(places.map(placed)).toEqual(["everywhere", "last", "3–8", "from 3, every 2"]);
  expect(scheduled({ kind: "pulse", every: 5, width: 2 })).toBe("2 of every 5 tokens");
  expect(scheduled({ kind: "values", values: [0, 0.5, 0, -1] })).toContain("painted on 2 tokens");
  const fires = { fires: 7, above: 0, over: "token" } as const;
  const far = { not: { fires: 9, above: 2, over: "prompt" } } as const;
  const either = { either: [fires, fires] as [typeof fires, typeof fires] };
  expect(awaited({ both: [either, fires] })).toBe("when (7 fires or 7 fires) and 7 fires");
  expect(awaited({ both: [fires, far] })).toBe("when 7 fires and not (9 > 2 in the prompt)");
});

test("an ablation has no strength; what follows one has one again", () => {
  const ablated = withOperation({ ...add, where: "prompt" }, "ablate", sea, saes[0]);
  expect(ablated).toEqual({ op: "ablate", feature: 131, where: "prompt" });
  expect(withOperation(ablated, "set", sea, saes[0])).toMatchObject({
    strength: 0.5,
    unit: "peak",
  });
  expect(withOperation(ablated, "scale", sea, saes[0])).toMatchObject({ strength: 2 });
  expect(withOperation({ ...add, strength: -2 }, "target", sea, saes[0]).strength).toBe(0);
  expect(withOperation(add, "set", sea, saes[0]).strength).toBe(0.5);
});

test("an edit says which way it pushes", () => {
  expect(push(add)).toBe("up");
  expect(push({ ...add, strength: -0.1 })).toBe("down");
  expect(push({ ...add, op: "scale", strength: 0.5 })).toBe("down");
  expect(push({ ...add, strength: 0 })).toBe("none");
  expect(push({ op: "ablate", feature: 1 })).toBe("down");
});

test("a feature is added as is known to steer best, or at half its peak everywhere", () => {
  expect(newEdit(sea, saes[0])).toEqual(sea.push);
  expect(newEdit(kitchen, saes[0])).toEqual({
    op: "add",
    feature: 13,
    strength: 0.5,
    unit: "peak",
    where: "all",
    sae: "topk",
    on: true,
  });
});

test("a feature without a peak is added in norms, and one without any statistics in raw units", () => {
  expect(newEdit({ ...kitchen, peak: 0 }, saes[0]).unit).toBe("norm");
  expect(newEdit({ ...kitchen, peak: null }, saes[0]).unit).toBe("peak");
  expect(newEdit({ ...kitchen, peak: null }, { ...(saes[0] as Sae), norm: null }).unit).toBe("raw");
});

test("features are found by number and name, the exact ones first and placebos last", () => {
  const all = [fake, sea, kitchen];
  expect(search("13", all, saes, "topk", 9)).toEqual([kitchen, sea, fake]);
  expect(search("SEA", all, saes, "topk", 9)).toEqual([sea, fake]);
  expect(search("", all, saes, "topk", 2)).toEqual([sea, kitchen]);
  expect(search("nothing", all, saes, "topk", 9)).toEqual([]);
});

test("a number that nobody has named can be added, if the SAE has it", () => {
  const [found] = search("200", [sea], saes, "topk", 9);
  expect(found).toMatchObject({ feature: 200, sae: "topk", label: "" });
  expect(search("256", [sea], saes, "topk", 9)).toEqual([]);
});

test("a typed number is a feature of the chosen SAE, placebo or not", () => {
  expect(search("131", [sea, fake], saes, "frozen", 9)).toEqual([fake, sea]);
  expect(search("7", [sea], saes, "frozen", 9)[0]).toMatchObject({ feature: 7, sae: "frozen" });
});

test("an arrow adds about a hundredth of what the slider reaches", () => {
  expect(step(add, sea)).toBeCloseTo(0.01);
  expect(step({ ...add, op: "scale" }, sea)).toBeCloseTo(0.01);
  expect(step({ ...add, unit: "raw" }, { ...sea, peak: 60 })).toBeCloseTo(1);
  expect(step({ ...add, unit: "raw" }, { ...sea, peak: 0.05 })).toBeCloseTo(0.001);
});

test("edits are recognised as others at another strength, and as no others", () => {
  const both: Edit[] = [
    add,
    { op: "scale", feature: 2, strength: 3 },
    { op: "ablate", feature: 4 },
  ];
  const half = both.map((edit) => scaled(edit, 0.5));
  expect(half.map((edit) => edit.strength)).toEqual([0.25, 2, undefined]);
  expect(factorBetween(both, half)).toBeCloseTo(0.5);
  expect(factorBetween(both, both)).toBe(1);
  const none = both.map((edit) => scaled(edit, 0));
  expect(none.map((edit) => edit.on)).toEqual([false, false, undefined]);
  expect(factorBetween(both, none)).toBe(0);
  expect(factorBetween(both, [half[0] as Edit, ...both.slice(1)])).toBeNull();
  expect(factorBetween(both, half.slice(0, 2))).toBeNull();
  expect(factorBetween([add], [{ ...add, feature: 7 }])).toBeNull();
  expect(factorBetween([{ ...add, strength: 0 }], [add])).toBeNull();
  expect(factorBetween([{ op: "ablate", feature: 4 }], [{ op: "ablate", feature: 4 }])).toBeNull();
});

test("edits are the same by what they do, not by how they are written", () => {
  const { op, ...rest } = add;
  expect(sameEdits([add], [{ ...rest, where: "all", on: true, op }])).toBe(true);
  expect(sameEdits([add], [{ ...add, strength: 0.51 }])).toBe(false);
  expect(sameEdits([add], [{ ...add, on: false }])).toBe(false);
});
