/** Undo and redo of what the person does to the edits. */

import { useRef } from "preact/hooks";
import { sameEdits } from "../edits";
import type { Edit } from "../wire";

/** Changes that follow each other closely, as in a drag, are one step. */
export function useUndo(edits: Edit[], restore: (edits: Edit[]) => void) {
  const state = useRef({
    past: [] as Edit[][],
    future: [] as Edit[][],
    now: edits,
    at: Number.NEGATIVE_INFINITY,
  });
  const so = state.current;
  // By value: Jupyter puts an equal copy in the place of what was sent.
  if (!sameEdits(so.now, edits)) {
    const time = performance.now();
    if (time - so.at > 600) so.past.push(so.now);
    so.future = [];
    so.at = time;
  }
  so.now = edits;
  const go = (from: Edit[][], to: Edit[][]) => {
    const next = from.pop();
    if (!next) return;
    to.push(so.now);
    so.now = next;
    so.at = Number.NEGATIVE_INFINITY;
    restore(next);
  };
  return {
    past: so.past.length > 0,
    future: so.future.length > 0,
    undo: () => go(so.past, so.future),
    redo: () => go(so.future, so.past),
  };
}
