/** One edit as a row: what it does to which feature, how strongly, where. */

import { convert, neutral, push, range, resting, step, withOperation } from "../edits";
import { parseNumber, strength } from "../text";
import type { Edit, Operation, Sae, SteeringFeature, Unit, Where } from "../wire";
import { Box } from "./box";
import { useHost } from "./frame";
import { PlaceboBadge } from "./sae";
import { Slider } from "./slider";

interface Props {
  edit: Edit;
  feature: SteeringFeature | undefined;
  sae: Sae | undefined;
  selected: boolean;
  onChange: (edit: Edit) => void;
  onSelect: () => void;
  onRemove: () => void;
}

const OPERATIONS: Record<Operation, string> = {
  add: "Add its direction to the activation",
  set: "Set the feature to this value, whatever it is",
  scale: "Multiply the feature by this factor",
  ablate: "Take the feature away",
};
const UNITS: Record<Unit, string> = {
  peak: "× the feature's largest value on the corpus",
  norm: "× the mean norm of the activations at the hook",
  raw: "in the activation's own units",
};
const PLACES: Record<Where, string> = {
  all: "everywhere",
  prompt: "prompt",
  generated: "generated",
};

export function EditRow({ edit, feature, sae, selected, onChange, onSelect, onRemove }: Props) {
  const { recorded, why } = useHost();
  const on = edit.on ?? true;
  const unit = edit.unit ?? "peak";
  const value = edit.strength ?? 0;
  const [min, max] = range(edit, feature);
  const rest = resting(edit, feature, sae);
  const recommended = edit.op === "add" && (feature?.strength ?? null) !== null;
  const name = edit.vector
    ? `a direction of ${edit.vector.length} numbers`
    : feature?.label || "no name yet";
  const number = edit.vector ? "" : String(edit.feature ?? "");
  const still = edit.op === "ablate";
  const words = edit.op === "scale" ? "×" : unit === "raw" ? "raw" : `× ${unit}`;
  return (
    <div
      class={`sae-edit ${on ? "" : "sae-off"}`}
      data-push={push(edit)}
      role="group"
      aria-label={`${edit.op} feature ${number} ${name}`}
    >
      <button
        type="button"
        class="sae-dot"
        aria-pressed={on}
        aria-label={`feature ${number} ${on ? "on" : "off"}`}
        title={on ? "On: Space turns it off" : "Off: Space turns it on"}
        onClick={() => onChange({ ...edit, on: !on })}
      />
      <span class="sae-what">
        <button
          type="button"
          class="sae-name sae-cut"
          aria-pressed={selected}
          title={`${number} ${name}: select it`}
          onClick={onSelect}
        >
          <span class="sae-mono sae-soft">{number}</span> {name}
        </button>
        {sae?.placebo && <PlaceboBadge reason={sae.placebo} />}
      </span>
      <select
        class="sae-op"
        aria-label="operation"
        title={OPERATIONS[edit.op]}
        value={edit.op}
        onChange={(event) =>
          onChange(withOperation(edit, event.currentTarget.value as Operation, feature, sae))
        }
      >
        {Object.entries(OPERATIONS).map(([op, title]) => (
          <option key={op} value={op} title={title} selected={op === edit.op}>
            {op}
          </option>
        ))}
      </select>
      <Slider
        value={still ? null : value}
        min={min}
        max={max}
        step={step(edit, feature)}
        zero={neutral(edit.op) ?? 0}
        mark={recommended ? rest : null}
        label={`strength of feature ${number} ${name}`}
        unit={words}
        disabled={recorded ? why : null}
        onInput={(next) => onChange({ ...edit, strength: next })}
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
              onTake={(typed) => typed !== value && onChange({ ...edit, strength: typed })}
              onFocus={(event) => event.currentTarget.select()}
            />
            {edit.op === "scale" ? (
              <span class="sae-soft sae-tiny">×</span>
            ) : (
              <select
                class="sae-unit"
                aria-label="unit"
                title={UNITS[unit]}
                value={unit}
                onChange={(event) => {
                  const to = event.currentTarget.value as Unit;
                  const same = convert(value, unit, to, feature, sae);
                  onChange({ ...edit, unit: to, strength: same ?? value });
                }}
              >
                {(Object.keys(UNITS) as Unit[])
                  .filter((each) => each !== "peak" || !edit.vector)
                  .map((each) => (
                    <option key={each} value={each} title={UNITS[each]} selected={each === unit}>
                      {each === "raw" ? "raw" : `× ${each}`}
                    </option>
                  ))}
              </select>
            )}
          </>
        )}
      </span>
      <select
        class="sae-where"
        aria-label="where"
        title="At which tokens it acts; special tokens are never touched"
        value={edit.where ?? "all"}
        onChange={(event) => onChange({ ...edit, where: event.currentTarget.value as Where })}
      >
        {Object.entries(PLACES).map(([where, text]) => (
          <option key={where} value={where} selected={where === (edit.where ?? "all")}>
            {text}
          </option>
        ))}
      </select>
      <button
        type="button"
        class="sae-quiet sae-remove"
        aria-label={`remove feature ${number}`}
        title="Remove (Delete on its slider)"
        onClick={onRemove}
      >
        ×
      </button>
    </div>
  );
}
