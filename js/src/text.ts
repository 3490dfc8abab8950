/** Numbers and texts as a person reads them. */

/** A value with three significant digits, and a true minus sign. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : 2;
  return minus(size > 0 && size < 0.005 ? value.toExponential(0) : value.toFixed(digits));
}

/** A number that always carries its sign: +2.9, −1.8. */
export function signed(value: number): string {
  const text = Math.abs(value) < 10 ? value.toFixed(1) : value.toFixed(0);
  return value >= 0 ? `+${text}` : minus(text);
}

/** A change with its sign: +0.31, −12.4. */
export function change(value: number, words = number): string {
  return `${value < 0 ? "−" : "+"}${words(Math.abs(value))}`;
}

/** A share as a percentage: 0.019 → 1.9 %. */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined || !Number.isFinite(share)) return "–";
  const value = 100 * share;
  if (value > 0 && value < 0.01) return "< 0.01 %";
  const digits = value >= 9.95 ? 0 : value < 0.1 ? 2 : 1;
  return `${Number(value.toFixed(digits))} %`;
}

/** A strength as it stands in its box: at most three decimals, none wasted. */
export function strength(value: number): string {
  return minus(String(Math.round(value * 1000) / 1000));
}

/** The number a person typed, with either minus sign; null if it is none. */
export function parseNumber(text: string): number | null {
  const value = Number(text.trim().replace("−", "-").replace(",", "."));
  return text.trim() === "" || !Number.isFinite(value) ? null : value;
}

export function seconds(value: number): string {
  if (value < 0.005) return "< 0.01 s";
  if (value < 1) return `${value.toFixed(2)} s`;
  return value < 60
    ? `${value.toFixed(1)} s`
    : `${Math.floor((value + 0.5) / 60)} min ${Math.round(value) % 60} s`;
}

export function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}

const minus = (text: string): string => text.replace("-", "−");

/** The first index at which two texts differ; null while one only continues the other. */
export function fork(a: readonly string[], b: readonly string[]): number | null {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) if (a[i] !== b[i]) return i;
  return null;
}

/**
 * Which tokens of `b` are new against `a`: not part of their longest common subsequence.
 * Tokens without a letter or digit are never called new; a changed comma is no news.
 */
export function moved(a: readonly string[], b: readonly string[]): boolean[] {
  const width = b.length + 1;
  const longest = new Uint16Array((a.length + 1) * width);
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      longest[i * width + j] =
        a[i] === b[j]
          ? 1 + (longest[(i + 1) * width + j + 1] ?? 0)
          : Math.max(longest[(i + 1) * width + j] ?? 0, longest[i * width + j + 1] ?? 0);
    }
  }
  const marks = b.map((token) => /[\p{L}\p{N}]/u.test(token));
  let i = 0;
  let j = 0;
  while (i < a.length && j < b.length) {
    if (a[i] === b[j]) {
      marks[j] = false;
      i++;
      j++;
    } else if ((longest[(i + 1) * width + j] ?? 0) >= (longest[i * width + j + 1] ?? 0)) i++;
    else j++;
  }
  return marks;
}

export interface Segment {
  text: string;
  /** New against the other text. */
  moved: boolean;
  /** Here the texts part. */
  fork: boolean;
  /** The token that it begins with. */
  at: number;
}

/**
 * Tokens as a few stretches of text, or `apart`. A mark starts after the white space in front of a
 * word, and neighbouring marked words are one stretch.
 */
export function segments(
  tokens: readonly string[],
  marks: readonly boolean[],
  forkAt: number | null,
  apart = false,
): Segment[] {
  const out: Segment[] = [];
  const add = (text: string, isMoved: boolean, isFork: boolean, at: number) => {
    const last = out.at(-1);
    const joins = last && last.moved === isMoved && !isFork && !(apart && last.at !== at);
    if (joins) last.text += text;
    else if (text || isFork) out.push({ text, moved: isMoved, fork: isFork, at });
  };
  tokens.forEach((token, i) => {
    const marked = marks[i] ?? false;
    const bare = token.trimStart();
    const space = token.slice(0, token.length - bare.length);
    add(space, marked && (marks[i - 1] ?? false) && i !== forkAt, false, i);
    add(bare, marked, i === forkAt, i);
  });
  return out;
}

/** What there is of some parts, in one text. */
export const joined = (parts: readonly unknown[], by = "\n"): string =>
  parts.filter(Boolean).join(by);
