/** How a run is written, beside its prompt: how long, how boldly, with which random numbers. */

import { sameEdits } from "../edits";
import { parseNumber } from "../text";
import type { RunRequest } from "../wire";
import { Box } from "./box";
import { Select } from "./choice";
import { Locked } from "./frame";

/** What a run depends on, beside its prompt. */
export type Settings = Pick<RunRequest, "length" | "temperature" | "seed" | "edits" | "control">;

type Manner = Pick<RunRequest, "prompt" | "length" | "temperature" | "seed">;

/** Whether two requests have the same unsteered text. */
export function alike(one: Manner | undefined, two: Manner): boolean {
  return (
    one?.prompt === two.prompt &&
    one.length === two.length &&
    one.temperature === two.temperature &&
    one.seed === two.seed
  );
}

/** Whether a run of `request` is not what the present settings would write. */
export function differs(request: RunRequest, now: Settings): boolean {
  return (
    !alike(request, { ...now, prompt: request.prompt }) ||
    (request.control ?? "") !== now.control ||
    !sameEdits(request.edits, now.edits)
  );
}

interface SettingBoxesProps {
  value: Settings;
  /** Where there is no kernel: the seeds that were recorded. */
  seeds: readonly number[];
  onChange: (values: Partial<Settings>) => void;
}

export function SettingBoxes({
  value: { length, temperature, seed },
  seeds,
  onChange,
}: SettingBoxesProps) {
  return (
    <span class="sae-settings">
      <Locked>
        <NumberBox
          value={length}
          min={1}
          max={2000}
          step={1}
          label="tokens to write"
          onChange={(value) => onChange({ length: value })}
        />
        <span>tokens</span>
        <span class="sae-setting">T</span>
        <NumberBox
          value={temperature}
          min={0}
          max={10}
          step={0.1}
          label="temperature: 0 always takes the likeliest token"
          onChange={(value) => onChange({ temperature: value })}
        />
      </Locked>
      <span class="sae-setting">seed</span>
      {seeds.length > 0 ? (
        <Select
          label="seed"
          title="The seeds that were recorded"
          value={String(seed)}
          options={[...new Set([seed, ...seeds])].map((each) => [String(each)])}
          onChoose={(chosen) => onChange({ seed: Number(chosen) })}
        />
      ) : (
        <Locked>
          <NumberBox
            value={seed}
            min={0}
            max={Number.MAX_SAFE_INTEGER}
            step={1}
            label="seed: the same seed writes the same text; both texts share it"
            onChange={(value) => onChange({ seed: value })}
          />
        </Locked>
      )}
    </span>
  );
}

interface NumberBoxProps {
  value: number;
  min: number;
  max: number;
  step: number;
  label: string;
  onChange: (value: number) => void;
}

function NumberBox({ value, min, max, step, label, onChange }: NumberBoxProps) {
  return (
    <Box
      type="number"
      text={String(value)}
      min={min}
      max={max}
      step={step}
      size={4}
      aria-label={label}
      title={label}
      wanted={max > 1e6 ? `a number from ${min}` : `a number from ${min} to ${max}`}
      read={(text) => {
        const typed = parseNumber(text);
        return typed === null || typed < min || typed > max ? null : typed;
      }}
      onTake={(typed) => {
        const next = step === 1 ? Math.round(typed) : typed;
        if (next !== value) onChange(next);
      }}
    />
  );
}
