/** One edit as a row: what it does to which feature, how strongly, where. */

import {
  awaited,
  convert,
  counts,
  course,
  courses,
  isOn,
  neutral,
  placed,
  push,
  range,
  resting,
  scheduled,
  step,
  withCourse,
  withOperation,
} from "../edits";
import { parseNumber, strength } from "../text";
import type { Edit, Interval, Operation, Place, Sae, SteeringFeature, Unit } from "../wire";
import { Box } from "./box";
import { Button, Select } from "./choice";
import { useHost } from "./frame";
import { PlaceboBadge } from "./sae";
import { Slider } from "./slider";

interface Props {
  edit: Edit;
  feature: SteeringFeature | undefined;
  sae: Sae | undefined;
  selected: boolean;
  /** Between which strengths it is worth looking. */
  band: Interval | null;
  /** What a sweep found at its strengths, and its control's. */
  curves: readonly (readonly Interval[])[];
  /** The strengths at which it was recorded. */
  ticks: readonly number[];
  /** Let this edit act alone, or all again. */
  onSolo: () => void;
  onChange: (edit: Edit) => void;
  onSelect: () => void;
  onRemove: () => void;
}

const OPERATIONS: Record<Operation, string> = {
  add: "Add its direction to the activation",
  set: "Set the feature to this value, whatever it is",
  target: "Let the SAE find this value again, together with the other targets",
  floor: "Raise the feature to this value wherever it is lower",
  ceiling: "Lower the feature to this value wherever it is higher",
  scale: "Multiply the feature by this factor",
  ablate: "Take the feature away",
  project: "Take away all along the direction, whether the feature fires or not",
  rotate: "Turn the activation by degrees towards the direction",
  replace: "Put the direction in the activation's place",
};
/** A vector has no value that the SAE could find again. */
const OFFERED = (Object.keys(OPERATIONS) as Operation[]).map(
  (op) => [op, op === "project" ? "project out" : op, OPERATIONS[op]] as const,
);
const OF_VECTORS = OFFERED.filter(([op]) => op !== "target");
const UNITS: Record<Unit, string> = {
  peak: "× the feature's largest value on the corpus",
  norm: "× the mean norm of the activations at the hook",
  raw: "in the activation's own units",
};
const COUNTED = (Object.keys(UNITS) as Unit[]).map(
  (unit) => [unit, unit === "raw" ? unit : `× ${unit}`, UNITS[unit]] as const,
);
const PLACES: Place[] = ["all", "prompt", "generated", "last"];

export function EditRow(props: Props) {
  const { edit, feature, sae, selected, band, curves, ticks } = props;
  const { onSolo, onChange, onSelect, onRemove } = props;
  const { recorded, why } = useHost();
  const plays = recorded && ticks.length > 0;
  const on = isOn(edit);
  const unit = edit.unit ?? "peak";
  const value = edit.strength ?? 0;
  const [min, max] = range(edit, feature);
  const rest = resting(edit, feature, sae);
  const recommended = edit.op === "add" && Boolean(feature?.push);
  const name = edit.vector
    ? `a direction of ${edit.vector.length} numbers`
    : feature?.label || "no name yet";
  const number = edit.vector ? "" : String(edit.feature ?? "");
  const spoken = `feature ${number}`;
  /** A feature's value is never below 0, and so is no target. */
  const take = (next: number) =>
    onChange({ ...edit, strength: edit.op === "target" ? Math.max(0, next) : next });
  const kind = counts(edit.op);
  const still = kind === "nothing";
  const bare = edit.op === "rotate" ? "°" : "×";
  const words = kind === "number" ? bare : unit === "raw" ? "raw" : `× ${unit}`;
  const where = edit.where ?? "all";
  const limits = awaited(edit.when);
  return (
    <div
      class={`sae-edit ${on ? "" : "sae-off"} ${plays ? "sae-plays" : ""}`}
      data-push={push(edit)}
      role="group"
      aria-label={`${edit.op} ${spoken} ${name}`}
    >
      <Button
        class="sae-dot"
        aria-pressed={on}
        aria-label={`${spoken} ${on ? "on" : "off"}`}
        title={`${on ? "On: Space turns it off" : "Off: Space turns it on"}; with Alt, or S: this one alone, or all again`}
        onClick={(event) => (event.altKey ? onSolo() : onChange({ ...edit, on: !on }))}
        onKeyDown={(event) => event.key === "s" && onSolo()}
      />
      <span class="sae-what">
        <Button
          class="sae-name sae-cut"
          aria-pressed={selected}
          title={`${number} ${name}: select it`}
          onClick={onSelect}
        >
          <span class="sae-mono sae-soft">{number}</span> {name}
        </Button>
        {sae?.placebo && <PlaceboBadge reason={sae.placebo} />}
        {limits && (
          <span class="sae-soft sae-tiny sae-cut" title={limits}>
            {limits}
          </span>
        )}
      </span>
      <Select
        class="sae-op"
        label="operation"
        title={OPERATIONS[edit.op]}
        value={edit.op}
        options={edit.vector ? OF_VECTORS : OFFERED}
        onChoose={(op) => onChange(withOperation(edit, op, feature, sae))}
      />
      <Slider
        value={still ? null : value}
        min={min}
        max={max}
        step={step(edit, feature)}
        zero={neutral(edit.op) ?? 0}
        mark={recommended ? rest : null}
        band={band}
        curves={curves}
        ticks={ticks}
        snaps={plays}
        label={`strength of ${spoken} ${name}`}
        unit={words}
        disabled={recorded && !plays ? why : null}
        onInput={take}
        onReset={() => onChange({ ...edit, strength: rest })}
        onRemove={onRemove}
      />
      <span class="sae-value">
        {still ? (
          <span class="sae-soft sae-mono">–</span>
        ) : (
          <>
            <Box
              inputMode="decimal"
              aria-label="strength"
              title="The strength; Enter takes it"
              text={strength(value)}
              wanted="a number"
              read={parseNumber}
              onTake={(typed) => typed !== value && take(typed)}
              onFocus={(event) => event.currentTarget.select()}
            />
            {kind === "number" ? (
              <span class="sae-soft sae-tiny">{bare}</span>
            ) : (
              <Select
                class="sae-unit"
                label="unit"
                title={UNITS[unit]}
                value={unit}
                options={edit.vector ? COUNTED.slice(1) : COUNTED}
                onChoose={(to) => {
                  const same = convert(value, unit, to, feature, sae);
                  onChange({ ...edit, unit: to, strength: same ?? value });
                }}
              />
            )}
          </>
        )}
      </span>
      <span class="sae-acts">
        <Select
          class="sae-where"
          label="where"
          title="At which tokens it acts; special tokens are never touched"
          value={placed(where)}
          options={[...new Set([...PLACES, where].map(placed))].map((place) => [place])}
          onChoose={(to) => {
            const chosen = PLACES.find((place) => placed(place) === to);
            if (chosen) onChange({ ...edit, where: chosen });
          }}
        />
        <Select
          class="sae-where"
          label="schedule"
          title={`How much of it is done when: ${scheduled(edit.schedule)}`}
          value={course(edit.schedule)}
          options={courses(edit.schedule).map((name) => [name])}
          onChoose={(to) => onChange(withCourse(edit, to, feature))}
        />
      </span>
      <Button
        class="sae-quiet sae-remove"
        aria-label={`remove ${spoken}`}
        title="Remove (Delete on its slider)"
        onClick={onRemove}
      >
        ×
      </Button>
    </div>
  );
}
