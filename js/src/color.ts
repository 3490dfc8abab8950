/** Colours: the ramp of the score, and what the host's colours are. */

export type Rgb = [number, number, number];
type Lab = [number, number, number];

/** Steps of a ramp, and so the number of colours a score can show. */
export const STEPS = 256;

/**
 * The ramp from an absent feature to one at its peak, as CSS colours.
 *
 * It starts at `page`, the surface it is drawn on, so that zero looks like nothing; its lightness
 * moves evenly towards the ink, which a colour-blind eye sees as well; and it has one hue.
 */
export function ramp(page: Rgb, dark: boolean): string[] {
  const from = toLab(page);
  const [light, chroma, hue] = dark ? [0.93, 0.165, 98] : [0.29, 0.125, 264];
  const angle = (hue * Math.PI) / 180;
  return Array.from({ length: STEPS }, (_, i) => {
    const t = i / (STEPS - 1);
    const l = from[0] + (light - from[0]) * t;
    // Chroma rises quickly and stays within what a screen can show at that lightness.
    const c = dark ? chroma * t ** 1.15 : chroma * Math.min(1, 2.1 * t) * (1.3 - 0.3 * t);
    const fade = Math.max(0, 1 - 4 * t);
    return css(
      toRgb([l, c * Math.cos(angle) + from[1] * fade, c * Math.sin(angle) + from[2] * fade]),
    );
  });
}

/** `share` (0 to 1) of a ramp. */
export function shade(colors: readonly string[], share: number): string {
  const i = Math.round(Math.min(1, Math.max(0, share)) * (colors.length - 1));
  return colors[i] ?? "transparent";
}

export function css([r, g, b]: Rgb): string {
  return `rgb(${r},${g},${b})`;
}

/** A computed CSS colour as numbers; null where it is transparent or in a form we do not know. */
export function parseColor(text: string): Rgb | null {
  const numbers = text.match(/[\d.]+%?/g)?.map(Number.parseFloat) ?? [];
  const [a = 0, b = 0, c = 0, alpha = 1] = numbers;
  if (numbers.length < 3 || alpha === 0) return null;
  if (text.startsWith("rgb")) return [a, b, c];
  if (text.startsWith("color(srgb ")) return [a * 255, b * 255, c * 255];
  return null;
}

/** Relative luminance, 0 to 1 (WCAG 2.1). */
export function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map(linear) as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export const isDark = (background: Rgb): boolean => luminance(background) < 0.18;

/** OKLab (Björn Ottosson, 2020): lightness, green–red, blue–yellow. */
export function toLab(rgb: Rgb): Lab {
  const [r, g, b] = rgb.map(linear) as Rgb;
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function toRgb([lightness, a, b]: Lab): Rgb {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  return [
    gamma(4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s),
    gamma(-1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s),
    gamma(-0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s),
  ];
}

function linear(channel: number): number {
  const c = channel / 255;
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
}

function gamma(c: number): number {
  const x = Math.min(1, Math.max(0, c));
  return Math.round(255 * (x <= 0.0031308 ? 12.92 * x : 1.055 * x ** (1 / 2.4) - 0.055));
}
