import { expect, test } from "vitest";
import { dropped } from "../src/parts/drop";
import type { Sae, SteeringFeature } from "../src/wire";

const saes: Sae[] = [
  { name: "topk", title: "TopK", placebo: null, hook: "h", width: 256 },
  { name: "frozen", title: "Frozen", placebo: "never trained", hook: "h", width: 9 },
];
const sea: SteeringFeature = {
  sae: "topk",
  feature: 131,
  label: "sea",
  peak: 6,
  density: 0.02,
  push: null,
};

test("a feature that is dropped is one of the session's, with all that is known of it", () => {
  expect(dropped('{"sae":"topk","feature":131}', saes, [sea])).toBe(sea);
  expect(dropped('{"sae":"frozen","feature":8}', saes, [sea])).toMatchObject({
    sae: "frozen",
    feature: 8,
    label: "",
    push: null,
  });
});

test("anything else that is dropped is nothing", () => {
  for (const data of [
    "",
    "null",
    "7",
    "{",
    '"topk"',
    '{"sae":"topk"}',
    '{"sae":"mine","feature":1}',
    '{"sae":"topk","feature":"131"}',
    '{"sae":"topk","feature":1.5}',
    '{"sae":"topk","feature":-1}',
    '{"sae":"frozen","feature":9}',
    '{"feature":131}',
  ]) {
    expect(dropped(data, saes, [sea])).toBeNull();
  }
});
