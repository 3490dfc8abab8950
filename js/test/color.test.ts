import { describe, expect, test } from "vitest";
import { isDark, luminance, parseColor, type Rgb, ramp, STEPS, shade, toLab } from "../src/color";

const THEMES: [string, Rgb, boolean][] = [
  ["light", [243, 243, 243], false],
  ["dark", [44, 44, 44], true],
];

describe.each(THEMES)("the %s ramp", (_, page, dark) => {
  const colors = ramp(page, dark).map((color): Rgb => parseColor(color) ?? [0, 0, 0]);
  const lightness = colors.map((rgb) => toLab(rgb)[0]);

  test("starts at the page, so that zero looks like nothing", () => {
    expect(colors[0]).toEqual(page);
  });

  test("has even steps of lightness", () => {
    const tenths = Array.from({ length: 10 }, (_, i) => {
      const at = (tenth: number) => lightness[Math.round((tenth / 10) * (STEPS - 1))] ?? 0;
      return at(i + 1) - at(i);
    });
    const mean = tenths.reduce((a, b) => a + b) / 10;
    for (const step of tenths) expect(Math.abs(step / mean - 1)).toBeLessThan(0.15);
  });

  test("has one hue wherever a hue can be seen", () => {
    const hues = colors
      .slice(64)
      .map((rgb) => toLab(rgb))
      .map(([, a, b]) => (Math.atan2(b, a) * 180) / Math.PI);
    expect(Math.max(...hues) - Math.min(...hues)).toBeLessThan(12);
  });

  test("ends far from the page", () => {
    const [low, high] = [luminance(page), luminance(colors.at(-1) ?? page)].sort((a, b) => a - b);
    expect(((high ?? 0) + 0.05) / ((low ?? 0) + 0.05)).toBeGreaterThan(7);
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
