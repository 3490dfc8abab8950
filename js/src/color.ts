/** Colours: the ramp of the score, and what the host's colours are. */

export type Rgb = [number, number, number];

/** Steps of a ramp, and so the number of colours a score can show. */
export const STEPS = 256;
/** Half of a feature's peak, and all of it, on a light and on a dark surface. */
const LIGHT = ["oklch(0.63 0.15 260)", "oklch(0.29 0.125 264)"] as const;
const DARK = ["oklch(0.61 0.12 90)", "oklch(0.93 0.165 98)"] as const;

/**
 * The ramp from an absent feature to one at its peak, as CSS colours, which the browser mixes.
 *
 * It starts at `page`, the surface it is drawn on, so that zero looks like nothing; its lightness
 * moves evenly towards the ink, which a colour-blind eye sees as well; and it has one hue.
 */
export function ramp(page: string, dark: boolean): string[] {
  const [half, full] = dark ? DARK : LIGHT;
  return Array.from({ length: STEPS }, (_, i) => {
    const t = (2 * i) / (STEPS - 1);
    return t < 1 ? mix(page, half, t) : mix(half, full, t - 1);
  });
}

const mix = (from: string, to: string, share: number): string =>
  `color-mix(in oklab, ${to} ${(100 * share).toFixed(1)}%, ${from})`;

/** `share` (0 to 1) of a ramp. */
export function shade(colors: readonly string[], share: number): string {
  const i = Math.round(Math.min(1, Math.max(0, share)) * (colors.length - 1));
  return colors[i] ?? "transparent";
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

export const isDark = (background: Rgb): boolean => luminance(background) < 0.18;

/** Relative luminance, 0 to 1 (WCAG 2.1). */
function luminance(rgb: Rgb): number {
  const [r, g, b] = rgb.map(linear) as Rgb;
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function linear(channel: number): number {
  const c = channel / 255;
  return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
}
