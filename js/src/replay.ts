/** What was recorded: its bytes as texts and measurements, and what of them the panel shows. */

import { isOn, neutral, sameEdits, still } from "./edits";
import {
  type Edit,
  type Effects,
  half,
  type Recorded,
  type Run,
  type RunRequest,
  type Sweep,
  type SweepArm,
} from "./wire";

/** What an edit wrote at one strength; without it, if it is the first of a take. */
interface Wrote extends SweepArm {
  ratio: number;
  positions: [number, number];
  strip: number[];
}

/** One edit with one seed. */
export interface Take {
  edit: Edit;
  seed: number;
  peaks: boolean;
  strengths: number[];
  arms: Wrote[];
}

/** The takes of a recording, up to where it makes no sense: whoever shares one may write anything. */
export function takesOf({ given, takes, vocab }: Partial<Recorded>, numbers: DataView): Take[] {
  const found: Take[] = [];
  let at = 0;
  // Outside of its bytes, a view throws.
  const word = () => {
    at += 2;
    return numbers.getUint16(at - 2, true);
  };
  const place = () => word() + ((vocab?.length ?? 0) > 65_536 ? 65_536 * word() : 0);
  const real = () => half(word());
  // What is not known is no number there.
  const fact = () => {
    const value = real();
    return Number.isNaN(value) ? null : value;
  };
  const list = <T>(length: number, next: () => T) => Array.from({ length }, next);
  const token = () => text(vocab?.[place()]);
  const arm = (factor: number, strip: number): Wrote => {
    const [count = 0, prompt = 0, after = 0] = list(3, word);
    const [nll, concept, kl, surprise, distinct, ratio] = list(6, fact) as [...Six];
    const tokens = list(count, token);
    return {
      factor,
      tokens,
      nll,
      concept,
      kl,
      surprise,
      distinct,
      ratio: ratio ?? 0,
      positions: [prompt, after],
      strip: list(strip, real),
    };
  };
  try {
    const prompt = (given ?? []).map(text).length;
    for (const take of takes ?? []) {
      const base = arm(0, 0);
      const steered = take.strengths.map((strength) => {
        if (!Number.isFinite(strength)) throw strength;
        return arm(strength - still(take.edit), prompt + base.tokens.length);
      });
      found.push({ ...take, arms: [base, ...steered] });
    }
  } catch {
    // What is whole is there.
  }
  return found;
}
type Six = [Known, Known, Known, Known, Known, Known];
type Known = number | null;

function text(value: unknown): string {
  if (typeof value !== "string") throw value;
  return value;
}

const bare = (edit: Edit): Edit[] => [{ ...edit, strength: 0, on: true }];

/** What was recorded of an edit with a seed. */
export const takeOf = (takes: readonly Take[], edit: Edit, seed: number): Take | undefined =>
  takes.find((take) => take.seed === seed && sameEdits(bare(take.edit), bare(edit)));

/** The strengths at which there is something to see, that of no edit among them. */
export function ticksOf(takes: readonly Take[], edit: Edit, seed: number): number[] {
  const take = takeOf(takes, edit, seed);
  const none = neutral(edit.op);
  if (!take) return [];
  return [...new Set([...take.strengths, none ?? take.strengths[0] ?? 0])].sort((a, b) => a - b);
}

export interface Replay {
  run: Run;
  effects: Effects;
  /** Null where no edit acts. */
  sweep: Sweep | null;
}

/**
 * What was recorded of these edits with this seed, as if it were the run `id`; null where nothing
 * was. `given`: the tokens of the prompt.
 */
export function replayOf(
  given: readonly string[],
  takes: readonly Take[],
  now: Omit<RunRequest, "id">,
  id: number,
): Replay | null {
  const { edits, seed, control } = now;
  const on = edits.filter(isOn);
  const [only] = on;
  const take = only ? takeOf(takes, only, seed) : takes.find((take) => take.seed === seed);
  if (!take || control || on.length > 1) return null;
  const nothing = !only || only.strength === neutral(only.op);
  const at = take.strengths.findIndex((each) => Math.abs(each - (only?.strength ?? 0)) < 1e-9) + 1;
  const [base, arm = base] = [take.arms[0], nothing ? undefined : take.arms[at]];
  if (!base || !arm || !(nothing || at)) return null;
  const request = { ...now, id };
  return {
    run: {
      id,
      request,
      prompt: [...given],
      arms: [
        { ...base, name: "base" },
        { ...arm, name: "steered" },
      ],
      fork: null,
      ended: "",
      calls: { prefill: 1, steps: Math.max(0, arm.tokens.length - 1) },
      ratio: arm.ratio,
      positions: arm.positions,
      seconds: 0,
      note: "",
    },
    effects: {
      id,
      mean: arm.kl,
      ...(arm !== base && {
        tokens: [...given, ...base.tokens],
        given: given.length,
        kl: arm.strip,
        more: [],
        less: [],
      }),
    },
    sweep: only
      ? {
          id,
          state: "done",
          request: {
            ...request,
            edits: edits.map((edit) =>
              edit === only ? { ...edit, strength: still(edit) + 1 } : edit,
            ),
          },
          arms: [...take.arms].sort((a, b) => a.factor - b.factor),
          unit: take.peaks ? "peak" : "raw",
        }
      : null,
  };
}
