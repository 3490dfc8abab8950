/** The states of a panel as a tree, and their edits in brief. */

import { joined, strength } from "./text";
import type { Edit, State } from "./wire";

export interface Row {
  state: State;
  /** How far in it is drawn: a first child goes on in the lane of its parent. */
  lane: number;
  /** The row of its parent; null for one that begins a tree. */
  parent: number | null;
}

/** The states in order, the newest last, each with its lane. */
export function rows(history: readonly State[]): Row[] {
  const place = new Map(history.map(({ id }, i) => [id, i]));
  const led = new Set<number>(); // whose lane goes on already
  const found: Row[] = [];
  let lanes = 0;
  for (const state of history) {
    const parent = place.get(state.parent) ?? null;
    const goesOn = parent !== null && !led.has(parent);
    if (goesOn) led.add(parent);
    found.push({ state, lane: goesOn ? (found[parent]?.lane ?? 0) : lanes++, parent });
  }
  return found;
}

/** An edit where there is little room: what it does to which feature, and how strongly. */
export function brief({ op, feature, strength: value }: Edit, label = ""): string {
  const what = feature === undefined ? "vector" : label || String(feature);
  return joined([op !== "add" && op, what, value !== undefined && strength(value)], " ");
}
