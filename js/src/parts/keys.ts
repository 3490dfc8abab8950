/** The keys of a slider. */

type Move = (() => void) | undefined;

/**
 * Move as a key asks for: up, down, to the first or to the last, or as `more` says. A key that asks
 * for nothing, and a chord, is the host's.
 */
export function byKey(
  event: KeyboardEvent,
  [up, down, first, last]: readonly Move[],
  more: Record<string, Move>,
): void {
  const moves: Record<string, Move> = {
    ArrowRight: up,
    ArrowUp: up,
    ArrowLeft: down,
    ArrowDown: down,
    Home: first,
    End: last,
    ...more,
  };
  const move = moves[event.key];
  if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  move();
}
