/** The card of one feature: its name, how it fires, what it makes likely. */

import { useRef } from "preact/hooks";
import { Histogram } from "../draw/histogram";
import { number, percent, signed } from "../text";
import type { Card, FeatureRow } from "../wire";
import { useHost } from "./frame";

interface Props {
  feature: number;
  sae: string;
  row: FeatureRow | undefined;
  card: Partial<Card>;
  /** The value to mark in the histogram. */
  mark: number | null;
  /** It has just been added to the edits. */
  steered: boolean;
  onSteer: (() => void) | null;
}

export function FeatureCard({ feature, sae, row, card, mark, steered, onSteer }: Props) {
  const { alive, why } = useHost();
  const ready = card.feature === feature && card.sae === sae;
  // Until its own facts are here, those of the feature before stay, greyed: nothing jumps.
  const last = useRef<Partial<Card>>({});
  if (ready) last.current = card;
  const body = last.current;
  const label = (ready ? card.label : row?.label) ?? "";
  const peak = (ready ? card.peak : row?.peak) ?? null;
  const density = (ready ? card.density : row?.density) ?? null;
  return (
    <div class="sae-card">
      <div class="sae-tiny sae-soft sae-mono">feature {feature}</div>
      <h4 class={label ? "" : "sae-soft"}>{label || "no name yet"}</h4>
      <div class="sae-facts">
        <span title="The largest value seen on the corpus">peak {number(peak)}</span>
        <span title="The share of the corpus's tokens on which it fires">
          density {percent(density)}
        </span>
      </div>
      {!ready && !alive ? (
        <p class="sae-waiting sae-tiny sae-soft">What it makes likely needs a kernel to say.</p>
      ) : body.feature === undefined ? (
        <p class="sae-waiting" />
      ) : (
        <div class={ready ? "" : "sae-old"} aria-hidden={!ready}>
          {body.histogram && typeof body.peak === "number" && (
            <Histogram counts={body.histogram} peak={body.peak} mark={ready ? mark : null} />
          )}
          <Chips
            name="makes likely"
            title="Logit lens: the next tokens whose scores its direction raises most"
            tokens={body.likely}
          />
          <Chips
            name="makes unlikely"
            title="Logit lens: the next tokens whose scores its direction lowers most"
            tokens={body.unlikely}
          />
          {body.note && <p class="sae-tiny sae-soft">{body.note}</p>}
        </div>
      )}
      {onSteer && (
        <button
          type="button"
          class="sae-primary"
          disabled={!alive}
          title={
            why ??
            "Add it to the edits (double-click its row, Shift+Enter, or drag its name into a panel)"
          }
          onClick={onSteer}
        >
          Steer it
        </button>
      )}
      {steered && (
        <p class="sae-tiny sae-soft" role="status">
          Added to the edits. A steering panel shows them: <code>session.steer()</code>
        </p>
      )}
    </div>
  );
}

interface ChipsProps {
  name: string;
  title: string;
  tokens: readonly [string, number][] | undefined;
}

function Chips({ name, title, tokens }: ChipsProps) {
  if (!tokens || tokens.length === 0) return null;
  return (
    <>
      <div class="sae-tiny sae-soft" title={title}>
        {name}
      </div>
      <div class="sae-chips sae-mono">
        {tokens.map(([token, score], i) => (
          <span class="sae-chip" key={i}>
            {token}
            <b>{signed(score)}</b>
          </span>
        ))}
      </div>
    </>
  );
}
