import { describe, expect, test } from "vitest";
import { isDark, parseColor, ramp, STEPS, shade } from "../src/color";

// What the mixed colours look like is measured in Chromium (tests/browser/test_heatmap.py).
describe.each([false, true])("the ramp of a theme that is dark: %s", (dark) => {
  const colors = ramp("rgb(243, 243, 243)", dark);

  test("starts at the page, so that zero looks like nothing", () => {
    expect(colors[0]).toMatch(/ 0\.0%, rgb\(243, 243, 243\)\)$/);
  });

  test("ends without any of it", () => {
    expect(colors).toHaveLength(STEPS);
    expect(colors.at(-1)).toMatch(/ 100\.0%, oklch/);
  });
});

test("a share beyond the ramp's ends takes the end", () => {
  const colors = ["a", "b", "c"];
  expect([-1, 0, 0.5, 1, 40].map((share) => shade(colors, share))).toEqual([
    "a",
    "a",
    "b",
    "c",
    "c",
  ]);
});

test.each([
  ["rgb(1, 2, 3)", [1, 2, 3]],
  ["rgba(1, 2, 3, 0.5)", [1, 2, 3]],
  ["color(srgb 1 0 0.2)", [255, 0, 51]],
  ["rgba(0, 0, 0, 0)", null],
  ["lab(50 0 0)", null],
])("%s is read", (text, color) => {
  expect(parseColor(text)).toEqual(color);
});

test("JupyterLab's dark surface is dark and its light one is not", () => {
  expect(isDark([33, 33, 33])).toBe(true);
  expect(isDark([255, 255, 255])).toBe(false);
});
