/** Which SAE, with a placebo called a placebo. */

import type { Sae } from "../wire";

export function PlaceboBadge({ reason }: { reason: string }) {
  return (
    <span class="sae-badge" title={`A placebo: ${reason}`}>
      placebo
    </span>
  );
}

interface Props {
  saes: readonly Sae[];
  value: string;
  /** Why another cannot be chosen; null where it can. */
  disabled: string | null;
  onChoose: (name: string) => void;
}

export function SaePicker({ saes, value, disabled, onChoose }: Props) {
  const chosen = saes.find((sae) => sae.name === value);
  if (saes.length < 2 && !chosen?.placebo) return null;
  const option = (sae: Sae) => (
    <option key={sae.name} value={sae.name} selected={sae.name === value}>
      {sae.title || sae.name}
      {sae.placebo ? " (placebo)" : ""}
    </option>
  );
  const real = saes.filter((sae) => !sae.placebo);
  const placebos = saes.filter((sae) => sae.placebo);
  return (
    <label class="sae-field" title={disabled ?? "The sparse autoencoder whose features are shown"}>
      <span>SAE</span>
      <select
        value={value}
        disabled={disabled !== null}
        onChange={(event) => onChoose(event.currentTarget.value)}
      >
        {real.map(option)}
        {placebos.length > 0 && (
          <optgroup label="placebos: what chance alone shows">{placebos.map(option)}</optgroup>
        )}
      </select>
      {chosen?.placebo && <PlaceboBadge reason={chosen.placebo} />}
    </label>
  );
}
