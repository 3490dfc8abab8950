/** The unsteered text, and under each token how differently the edits would have had it go on. */

import { change, joined, number, percent } from "../text";
import type { Effects, Shift } from "../wire";

/** The unsteered text with its measurements. */
export type Strip = Required<Pick<Effects, "tokens" | "given" | "kl" | "more" | "less">>;

/** The strip of `effects`, if they have one and it is of this text or of one that begins so. */
export function stripOf(effects: Partial<Effects>, text: string): Strip | null {
  const { tokens, given, kl, more, less } = effects;
  if (!tokens || !kl || !more || !less || given === undefined) return null;
  return tokens.join("").startsWith(text) ? (effects as Strip) : null;
}

/** From no change (0) to one as large as a strip can show (1): as the square root, to 2 nats. */
export function shade(kl: number): number {
  return Math.min(1, Math.sqrt(kl / 2));
}

export const PART = "Here the texts part";

interface Props {
  strip: Strip;
  /** The generated token at which the texts part. */
  fork: number | null;
}

export function StripText({ strip, fork }: Props) {
  const { tokens, given, kl, more, less } = strip;
  return (
    <>
      {tokens.map((token, i) => {
        const bare = token.trimStart() || token; // what is all white space has its mark, too
        const parts = fork !== null && i === given + fork;
        return (
          <span key={i} class={i < given ? "sae-soft" : ""}>
            {token.slice(0, token.length - bare.length)}
            <span
              class={`sae-kl ${parts ? "sae-fork" : ""}`}
              style={{ "--sae-kl": `${Math.round(100 * shade(kl[i] ?? 0))}%` }}
              title={joined([
                parts && PART,
                `KL ${number(kl[i])} nats`,
                said("likelier here", more[i]),
                said("less likely", less[i]),
              ])}
            >
              {bare}
            </span>
          </span>
        );
      })}
      <span class="sae-hidden">{spoken(strip)}</span>
    </>
  );
}

/** The same for who cannot see or point: the places that change most. */
export function spoken({ tokens, kl, more }: Strip): string {
  const most = kl
    .map((nats, i) => ({ nats, i }))
    .filter(({ nats }) => nats >= 0.01)
    .sort((a, b) => b.nats - a.nats)
    .slice(0, 3)
    .map(({ nats, i }) => {
      const likelier = more[i]?.[0]?.[0];
      return `“${tokens[i]?.trim()}” (KL ${number(nats)}${likelier ? `, likelier ${likelier}` : ""})`;
    });
  return most.length ? ` The edits change most what comes at ${most.join(", ")}.` : "";
}

function said(words: string, shifts: readonly Shift[] | undefined): string {
  if (!shifts?.length) return "";
  const listed = shifts.map(([token, by]) => `${token} ${change(by, percent)}`);
  return `${words}: ${listed.join(", ")}`;
}
