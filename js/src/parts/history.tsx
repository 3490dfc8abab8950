/** What was written under which settings: to look at again, to go back to, to compare. */

import { useEffect } from "preact/hooks";
import { isOn } from "../edits";
import { rows } from "../history";
import { count } from "../text";
import type { Arm, Edit, State } from "../wire";
import { Button } from "./choice";
import { useHost } from "./frame";

const ROW = 28;
const LANE = 11;
const CHIPS = 3;

interface Props {
  history: readonly State[];
  here: number;
  /** An edit in brief. */
  named: (edit: Edit) => string;
  /** What the others are compared with. */
  pinned: State | null;
  onSee: (state: State | null) => void;
  onPin: (id: number | null) => void;
  onGo: (state: State) => void;
}

/** The tree, the newest first, each state with its edits and the beginning of its text. */
export function Tree({ history, here, named, pinned, onSee, onPin, onGo }: Props) {
  const { why } = useHost();
  useEffect(() => () => onPin(null), []); // nobody sees any longer what is compared
  const tree = rows(history);
  const last = tree.length - 1;
  const x = (lane: number) => LANE * lane + 10;
  const y = (row: number) => ROW * (last - row) + ROW / 2;
  const width = x(Math.max(0, ...tree.map(({ lane }) => lane))) + 10;
  return (
    <div class="sae-tree" style={{ paddingLeft: `${width}px` }} onPointerLeave={() => onSee(null)}>
      <svg width={width} height={ROW * tree.length} aria-hidden="true">
        {tree.map(({ lane, parent, state }, row) => {
          const above = parent ?? -1;
          const up = tree[above];
          const line =
            up && `M${x(lane)} ${y(row)}V${y(above) - ROW / 2}L${x(up.lane)} ${y(above)}`;
          return line && <path key={state.id} d={line} />;
        })}
        {tree.map(({ lane, state }, row) => (
          <circle key={state.id} cx={x(lane)} cy={y(row)} r={state.id === here ? 4.5 : 3} />
        ))}
      </svg>
      {[...tree].reverse().map(({ state }) => {
        const on = state.request.edits.filter(isOn);
        return (
          <div key={state.id} class="sae-state" style={{ height: `${ROW}px` }}>
            <Button
              class="sae-go"
              aria-current={state.id === here}
              why={why}
              title={`${state.request.prompt}: go back to these settings`}
              onPointerEnter={() => onSee(state)}
              onFocus={() => onSee(state)}
              onBlur={() => onSee(null)}
              onClick={() => onGo(state)}
            >
              <span class="sae-soft sae-number">{state.id}</span>
              {on.slice(0, CHIPS).map((edit, i) => (
                <span key={i} class="sae-chip sae-mono">
                  {named(edit)}
                </span>
              ))}
              {on.length > CHIPS && <span class="sae-soft">+{on.length - CHIPS}</span>}
              {on.length === 0 && <span class="sae-soft">{count(0, "edit")}</span>}
              <span class="sae-cut">{state.arms[1]?.tokens.join("")}</span>
            </Button>
            <Button
              class="sae-link"
              aria-pressed={state === pinned}
              title="Show its text on the left, beside the present one or the one that is pointed at"
              onClick={() => onPin(state === pinned ? null : state.id)}
            >
              compare
            </Button>
          </div>
        );
      })}
    </div>
  );
}

/** What a pinned state is shown beside while nobody points at another: the present one, or its own
 * parent. */
export function besides(pinned: State, history: readonly State[], here: number): State | null {
  const id = pinned.id === here ? pinned.parent : here;
  return history.find((state) => state.id === id) ?? null;
}

/** What the panes show of a state: its texts, or beside those of `pinned` its steered one. */
export function armsOf(
  state: State,
  pinned: State | null,
  named: (edit: Edit) => string,
): { prompt: string; arms: Arm[] } {
  const { prompt } = state.request;
  if (!pinned || pinned === state) return { prompt, arms: state.arms };
  const both = [pinned, state];
  const same = pinned.request.prompt === prompt;
  const arms = both.flatMap(({ id, arms, request }) => {
    const arm = arms[1];
    if (!arm) return [];
    const tokens = same ? arm.tokens : [request.prompt, ...arm.tokens];
    return [{ ...arm, tokens, name: `state ${id}: ${request.edits.map(named).join(", ")}` }];
  });
  return { prompt: same ? prompt : "", arms };
}
