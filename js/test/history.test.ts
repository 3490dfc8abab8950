import { expect, test } from "vitest";
import { brief, rows } from "../src/history";
import { armsOf, besides } from "../src/parts/history";
import type { Edit, State } from "../src/wire";

const state = (id: number, parent: number, text = "", prompt = "So"): State => ({
  id,
  parent,
  request: { prompt, length: 1, temperature: 0, seed: 0, edits: [], control: "" },
  arms: [
    { name: "base", tokens: [" a"], nll: 1 },
    { name: "steered", tokens: [text], nll: 1 },
  ],
});

test("a first child goes on in its parent's lane, and every other begins one of its own", () => {
  //  1 ─ 2 ─ 4
  //      └ 3 ─ 6      5 begins anew: its parent is gone
  const tree = rows([state(1, 0), state(2, 1), state(4, 2), state(3, 2), state(5, 9), state(6, 3)]);
  expect(tree.map(({ lane }) => lane)).toEqual([0, 0, 0, 1, 2, 1]);
  expect(tree.map(({ parent }) => parent)).toEqual([null, 0, 1, 1, null, 3]);
});

test("an edit is named in brief by what it does and how strongly", () => {
  expect(brief({ op: "add", feature: 5, strength: 0.5 }, "sea")).toBe("sea 0.5");
  expect(brief({ op: "add", feature: 5, strength: -0.5 })).toBe("5 −0.5");
  expect(brief({ op: "ablate", feature: 5 }, "")).toBe("ablate 5");
  expect(brief({ op: "set", vector: [1, 2], strength: 3 })).toBe("set vector 3");
  const placed = {
    op: "add",
    feature: 5,
    strength: 1.37,
    unit: "peak",
    where: "generated",
  } as const;
  expect(brief({ ...placed, schedule: { kind: "decay", half: 12 } }, "sea")).toBe(
    "sea 1.37 × peak, generated, fading",
  );
  const painted = {
    where: { start: 1, stop: 9, step: 1 },
    schedule: { kind: "values", values: [1] },
  };
  expect(brief({ ...placed, ...painted, unit: "raw" } as Edit, "sea")).toBe(
    "sea 1.37 raw, 1–8, painted",
  );
  expect(brief({ op: "ablate", feature: 5, where: "all" })).toBe("ablate 5");
});

test("a state that is compared stands beside the present one, and the present one beside its parent", () => {
  const tree = [state(1, 0), state(2, 1), state(3, 1)];
  const [one, two] = tree as [State, State];
  expect(besides(one, tree, 3)?.id).toBe(3);
  expect(besides(two, tree, 2)?.id).toBe(1);
  expect(besides(one, tree, 1)).toBeNull();
});

test("two states stand side by side with their steered texts, after one prompt or each its own", () => {
  const [one, two, other] = [state(1, 0, " x"), state(2, 1, " y"), state(3, 1, " z", "Then")];
  expect(armsOf(two, null, String).arms).toEqual(two.arms);
  expect(armsOf(two, two, String).arms).toEqual(two.arms);
  const beside = armsOf(two, one, String);
  expect([beside.prompt, ...beside.arms.map(({ tokens }) => tokens)]).toEqual([
    "So",
    [" x"],
    [" y"],
  ]);
  const apart = armsOf(other, one, String);
  expect([apart.prompt, ...apart.arms.map(({ tokens }) => tokens)]).toEqual([
    "",
    ["So", " x"],
    ["Then", " z"],
  ]);
});
