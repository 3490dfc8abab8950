/** How a run is written, beside its prompt: how long, how boldly, with which random numbers. */

import { sameEdits } from "../edits";
import { parseNumber } from "../text";
import type { RunRequest } from "../wire";
import { Box } from "./box";
import { Select } from "./choice";
import { Locked } from "./frame";

/** What a run depends on, beside its prompt. */
export type Settings = Pick<RunRequest, "length" | "temperature" | "seed" | "edits" | "control">;

const MANNER = ["prompt", "length", "temperature", "seed"] as const;
type Manner = Pick<RunRequest, (typeof MANNER)[number]>;

/** Whether two requests have the same unsteered text. */
export function alike(one: Manner | undefined, two: Manner): boolean {
  return MANNER.every((name) => one?.[name] === two[name]);
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

export function SettingBoxes({ value, seeds, onChange }: SettingBoxesProps) {
  return (
    <span class="sae-settings">
      <Locked>
        <NumberBox
          name="length"
          of={value}
          min={1}
          max={2000}
          label="tokens to write"
          onChange={onChange}
        />
        <span>tokens</span>
        <span class="sae-setting">T</span>
        <NumberBox
          name="temperature"
          of={value}
          max={10}
          step={0.1}
          label="temperature: 0 always takes the likeliest token"
          onChange={onChange}
        />
      </Locked>
      <span class="sae-setting">seed</span>
      {seeds.length > 0 ? (
        <Select
          label="seed"
          title="The seeds that were recorded"
          value={String(value.seed)}
          options={[...new Set([value.seed, ...seeds])].map((each) => [String(each)])}
          onChoose={(chosen) => onChange({ seed: Number(chosen) })}
        />
      ) : (
        <Locked>
          <NumberBox
            name="seed"
            of={value}
            max={Number.MAX_SAFE_INTEGER}
            label="seed: the same seed writes the same text; both texts share it"
            onChange={onChange}
          />
        </Locked>
      )}
    </span>
  );
}

interface NumberBoxProps {
  name: "length" | "temperature" | "seed";
  of: Settings;
  min?: number;
  max: number;
  step?: number;
  label: string;
  onChange: (values: Partial<Settings>) => void;
}

function NumberBox({ name, of, min = 0, max, step = 1, label, onChange }: NumberBoxProps) {
  return (
    <Box
      type="number"
      text={String(of[name])}
      min={min}
      max={max}
      step={step}
      size={4}
      aria-label={label}
      title={label}
      wanted={`a number from ${min}${max > 1e6 ? "" : ` to ${max}`}`}
      read={(text) => {
        const typed = parseNumber(text);
        return typed === null || typed < min || typed > max ? null : typed;
      }}
      onTake={(typed) => {
        const next = step === 1 ? Math.round(typed) : typed;
        if (next !== of[name]) onChange({ [name]: next });
      }}
    />
  );
}
