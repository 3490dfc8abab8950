/** The states of a panel as a tree, and their edits in brief. */

import { course, placed } from "./edits";
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

/** An edit where there is little room: what it does to which feature, how strongly, where, when. */
export function brief(edit: Edit, label = ""): string {
  const { op, feature, strength: value, unit, where, schedule } = edit;
  const what = feature === undefined ? "vector" : label || String(feature);
  const counted = unit && (unit === "raw" ? unit : `× ${unit}`);
  const much = value !== undefined && joined([strength(value), counted], " ");
  const done = joined([op !== "add" && op, what, much], " ");
  const there = where !== undefined && where !== "all" && placed(where);
  return joined([done, there, schedule && course(schedule)], ", ");
}
