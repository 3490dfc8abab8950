/** Features that are dragged from one widget and dropped on another, on the same page. */

import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { unnamed } from "../edits";
import type { Sae, SteeringFeature } from "../wire";

/** No other drop target of the page knows it, so a drag that goes astray does nothing. */
const FEATURE = "application/x-sae-feature";

/** Let a drag that has begun carry a feature; `ghost` goes with the pointer. */
export function carry(event: DragEvent, sae: string, feature: number, ghost: HTMLElement): void {
  const data = event.dataTransfer;
  if (!data) return;
  data.setData(FEATURE, JSON.stringify({ sae, feature }));
  data.effectAllowed = "copy";
  data.setDragImage(ghost, -10, -4);
}

/**
 * What makes an element a place to drop features on. What is dropped comes from outside: it must be
 * a feature of one of `saes`, and of `known` ones more is told.
 */
export function useDrop(
  saes: readonly Sae[],
  known: readonly SteeringFeature[],
  onDrop: (feature: SteeringFeature) => void,
): JSX.HTMLAttributes<HTMLDivElement> {
  const [over, setOver] = useState(false);
  const ours = (act: (event: DragEvent) => void) => (event: DragEvent) => {
    if (!event.dataTransfer?.types.includes(FEATURE)) return;
    event.preventDefault(); // it may be dropped here,
    event.stopPropagation(); // and the notebook need not know
    act(event);
  };
  const enter = ours((event) => {
    if (event.dataTransfer) event.dataTransfer.dropEffect = "copy";
    setOver(true);
  });
  return {
    class: over ? "sae-dropping" : undefined,
    onDragEnter: enter,
    onDragOver: enter,
    onDragLeave: (event) => {
      if (!event.currentTarget.contains(event.relatedTarget as Node | null)) setOver(false);
    },
    onDrop: ours((event) => {
      setOver(false);
      const feature = dropped(event.dataTransfer?.getData(FEATURE) ?? "", saes, known);
      if (feature) onDrop(feature);
    }),
  };
}

/** The feature that was dropped; null where `data` names none of these SAEs. */
export function dropped(
  data: string,
  saes: readonly Sae[],
  known: readonly SteeringFeature[],
): SteeringFeature | null {
  let named: { sae?: unknown; feature?: unknown } | null;
  try {
    named = JSON.parse(data);
  } catch {
    return null;
  }
  const sae = saes.find(({ name }) => name === named?.sae);
  const feature = named?.feature;
  if (!sae || typeof feature !== "number" || !Number.isInteger(feature)) return null;
  if (feature < 0 || feature >= sae.width) return null;
  return (
    known.find((each) => each.feature === feature && each.sae === sae.name) ??
    unnamed(sae.name, feature)
  );
}
