/** The texts side by side, as they are written, with the place marked where they part. */

import { fork, moved, number, segments } from "../text";
import type { Arm } from "../wire";

interface Props {
  prompt: string;
  arms: readonly Arm[];
  /** What stood here before, while the new texts are still shorter. */
  before: readonly Arm[];
  /** More is coming. */
  writing: boolean;
  /** No token of the new texts has come yet: these are the old ones. */
  old: boolean;
}

export function Panes({ prompt, arms, before, writing, old }: Props) {
  const [base] = arms;
  return (
    <div class={`sae-panes ${old ? "sae-old" : ""}`} aria-busy={writing}>
      {arms.map((arm, i) => {
        const first = base && i > 0 ? base : (arms[1] ?? arm);
        const at = fork(first.tokens, arm.tokens);
        const marks = base && i > 0 ? moved(base.tokens, arm.tokens) : [];
        const tail = before[i]?.tokens.slice(arm.tokens.length) ?? [];
        return (
          <div class="sae-pane" key={arm.name}>
            <div class="sae-between sae-tiny sae-soft">
              <span>{i === 0 ? "unsteered" : arm.name}</span>
              <span
                class="sae-number sae-mono"
                title="Surprise: the mean of −log p of the tokens written, under what wrote them"
              >
                {i > 0 && at === null && !writing && arm.tokens.length > 0
                  ? "the same text · "
                  : ""}
                {arm.nll === null ? "" : `${number(arm.nll)} nats/token`}
              </span>
            </div>
            <p>
              <span class="sae-soft">{prompt}</span>
              {segments(arm.tokens, marks, at).map((segment, j) => (
                <span
                  key={`${j} ${segment.moved}`}
                  class={`${segment.moved ? "sae-moved" : ""} ${segment.fork ? "sae-fork" : ""}`}
                  title={segment.fork ? "Here the texts part" : undefined}
                >
                  {segment.text}
                </span>
              ))}
              {writing && !old && <span class="sae-caret" />}
              {tail.length > 0 && <span class="sae-tail">{tail.join("")}</span>}
            </p>
          </div>
        );
      })}
    </div>
  );
}
