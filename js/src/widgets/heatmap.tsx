/** The heatmap widget: which features fire on which tokens of a text. */

import type { AnyModel } from "@anywidget/types";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { unitFor } from "../edits";
import { arrange } from "../layout";
import { brushed, overlaid, STRONGEST } from "../paint";
import { aboutThis, Ending } from "../parts/about";
import { FeatureCard } from "../parts/card";
import { Spoken, Trouble, useHost, widget } from "../parts/frame";
import { save, throttle, useDraft, useElapsed, useTrait } from "../parts/host";
import { PaintTool } from "../parts/paint";
import { usePalette } from "../parts/palette";
import { SaePicker } from "../parts/sae";
import { type Cell, ScoreView } from "../parts/score";
import { TextBox } from "../parts/textbox";
import { count, number, percent, seconds } from "../text";
import {
  cardOf,
  decodeCells,
  type HeatmapTraits,
  type Painted,
  type PaintedRow,
  type Scale,
  type Sort,
  type View,
  valueAt,
} from "../wire";
import "./heatmap.css";

type Model = AnyModel<HeatmapTraits>;

/** A text is read by itself when typing has paused for so long. */
const PAUSE = 700;
/** While a row is painted, it is sent so often at most; in milliseconds. */
const PACE = 80;
/** What is painted with at first, × peak. */
const BRUSH = 0.5;
const EXAMPLE = "The captain opened the door and smiled.";
const EMPTY = new DataView(new ArrayBuffer(0));

function Heatmap({ model }: { model: Model }) {
  const { alive, heard, recorded, why } = useHost();
  const view = useView(model);
  const status = useTrait(model, "status");
  const request = useTrait(model, "request");
  const text = useTrait(model, "text");
  const sae = useTrait(model, "sae");
  const [draft, setDraft, sendDraft] = useDraft(text);

  const sent = (request.id ?? 0) > status.id;
  const working = alive && heard && (sent || status.state === "working");
  const since = useMemo(() => (working ? performance.now() : null), [working, request]);
  const elapsed = useElapsed(since);

  // Called from a timer too: what counts is how things are then.
  const read = (next: string, chosen = model.get("sae")) => {
    clearTimeout(timer.current);
    const known = [model.get("request").id, model.get("status").id, model.get("view").id];
    const id = 1 + Math.max(...known.map((id) => id ?? 0));
    sendDraft(next);
    save(model, { text: next, sae: chosen, request: { id, text: next, sae: chosen } });
  };
  const timer = useRef<ReturnType<typeof setTimeout>>();
  useEffect(() => () => clearTimeout(timer.current), []);
  const typed = (next: string) => {
    setDraft(next);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => alive && next !== model.get("text") && read(next), PAUSE);
  };
  useEffect(() => clearTimeout(timer.current), [text]); // someone else has set another text

  // What was typed while the kernel was silent is read when it answers again.
  useEffect(() => {
    if (alive && draft !== model.get("text")) read(draft);
  }, [alive]);

  const changed = view !== null && (draft !== view.text || sae !== view.sae);
  const stale = changed && !working;
  const tokens = view?.tokens.length ?? 0;
  // An empty text is read too: of the special token in front of it there is nothing to see.
  const empty = tokens <= (view?.special.length ?? 0);
  return (
    <>
      <form
        class="sae-bar"
        onSubmit={(event) => {
          event.preventDefault();
          if (alive) read(draft);
        }}
      >
        <TextBox
          value={draft}
          label="text to read"
          placeholder="Type a text to see which features fire on it"
          title={
            (recorded && why) ||
            "Enter reads it, and so does a pause in typing; Shift+Enter starts a new line"
          }
          readOnly={recorded}
          onInput={typed}
          onEnter={(text) => alive && read(text)}
        />
        <button
          type="submit"
          class="sae-primary"
          aria-disabled={!alive}
          title={why ?? "Read the text (Enter)"}
        >
          Read
        </button>
      </form>
      <Trouble status={status} />
      {view && !empty ? (
        <Body
          model={model}
          view={view}
          ready={!changed && !working}
          old={changed || working || status.state === "error"}
          message={
            working
              ? `reading … ${seconds(elapsed)}`
              : stale
                ? alive
                  ? "of the text before; Enter reads the new one"
                  : "of the text before"
                : null
          }
          onSae={(name) => read(draft, name)}
        />
      ) : working ? (
        <p class="sae-empty">reading … {seconds(elapsed)}</p>
      ) : (
        <p class="sae-empty">
          Type a text above to see which features fire on its tokens, or read this one:{" "}
          <button
            type="button"
            class="sae-example sae-mono"
            aria-disabled={!alive}
            title={why ?? undefined}
            onClick={(event) => {
              if (!alive) return;
              const root = event.currentTarget.closest(".sae-root");
              read(EXAMPLE);
              root?.querySelector("textarea")?.focus(); // this button goes away
            }}
          >
            {EXAMPLE}
          </button>
        </p>
      )}
      <Spoken
        text={
          working
            ? elapsed > 1
              ? "reading"
              : ""
            : status.state === "error"
              ? ""
              : view && !empty
                ? `${count(tokens, "token")}, ${count(view.active, "feature")} fire`
                : ""
        }
      />
    </>
  );
}

interface BodyProps {
  model: Model;
  view: View;
  /** Whether it is of the text and the SAE that are chosen. */
  ready: boolean;
  old: boolean;
  message: string | null;
  onSae: (name: string) => void;
}

function Body({ model, view, ready, old, message, onSae }: BodyProps) {
  const { alive, root, why } = useHost();
  const palette = usePalette(root);
  const saes = useTrait(model, "saes");
  const sae = useTrait(model, "sae");
  const selected = useTrait(model, "selected");
  const token = useTrait(model, "token");
  const sort = useTrait(model, "sort");
  const scale = useTrait(model, "scale");
  const dense = useTrait(model, "dense");
  const card = useTrait(model, "card");
  const cards = useTrait(model, "cards");
  const steerable = useTrait(model, "steerable");
  const about = aboutThis(useTrait(model, "about"), view.sae);
  const { painted, paint, paintable } = usePainted(model, view);
  const [painting, setPainting] = useState(false);
  const [brush, setBrush] = useState(BRUSH);
  const [said, setSaid] = useState("");
  const [hover, setHover] = useState<Cell | null>(null);
  const [steered, setSteered] = useState<string | null>(null);

  const cells = useMemo(
    () =>
      decodeCells(
        model.get("row") ?? EMPTY,
        model.get("column") ?? EMPTY,
        model.get("value") ?? EMPTY,
        view.features.length,
      ),
    [model, view],
  );
  const largest = useMemo(
    () => (scale === "text" ? cells.value.reduce((a, b) => Math.max(a, b), 0) || 1 : null),
    [cells, scale],
  );
  const order = useMemo(
    () => arrange(view.features, sort, dense, cells, token, largest),
    [view, sort, dense, cells, sort === "token" ? token : null, largest],
  );

  useEffect(() => setSteered(null), [selected]);
  const steer = (feature: number) => {
    if (!steerable || !alive) return;
    const id = 1 + (model.get("steer").id ?? 0);
    save(model, { steer: { id, feature, sae: view.sae } });
    setSteered(`${view.sae} ${feature}`);
  };
  const pick = ({ index, column }: Cell) => {
    // While another SAE is being read, a number of this one would mean another feature.
    const same = view.sae === model.get("sae");
    const feature = index === null || !same ? undefined : view.features[index]?.feature;
    const next: Partial<HeatmapTraits> = {};
    if (feature !== undefined) next.selected = feature;
    if (column !== null) next.token = column;
    save(model, next);
  };

  const chosen = view.features.findIndex((row) => row.feature === selected);
  const row = view.features[chosen];
  const kept = useMemo(
    () => cardOf(view, chosen, cards ?? {}, model.get("facts") ?? EMPTY),
    [view, chosen, cards],
  );
  const marked = hover && hover.index === chosen && hover.column !== null ? hover.column : token;
  const mark = chosen >= 0 && marked !== null ? valueAt(cells, chosen, marked) : null;
  // An SAE without statistics has no peaks: each row is then shaded up to its own largest value.
  const peaks = view.features.some((feature) => feature.peak);
  const top =
    largest === null
      ? peaks
        ? "1 × peak"
        : "each row's largest"
      : `${number(largest)} (largest here)`;

  const unit = peaks ? "× peak" : "raw";
  const toggle = (on: boolean) => {
    if (on && !alive) return;
    setPainting(on);
    setSaid(on ? `painting with ${number(brush)} ${unit}` : "painting ended");
  };
  const load = (next: number) => {
    setBrush(next);
    setSaid(`brush ${number(next)} ${unit}`);
  };
  const press = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    if (!paintable || target.tagName === "SELECT" || event.metaKey) return;
    if (event.key === "p" && !event.ctrlKey && !event.altKey) toggle(!painting);
    else if (!painting) return;
    else if (event.key === "Escape") toggle(false);
    else if (event.key === "[" || event.key === "]")
      load(brushed(brush, event.key === "[" ? -1 : 1));
    else return;
    event.preventDefault();
    event.stopPropagation(); // an Escape that ended this ends nothing else
  };

  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys of the controls inside
    <div onKeyDown={press}>
      <div class="sae-bar sae-controls">
        <SaePicker saes={saes} value={sae} disabled={why} onChoose={onSae} />
        <label class="sae-field" title="The order of the features">
          <span>Sort</span>
          <select
            value={sort}
            onChange={(event) => save(model, { sort: event.currentTarget.value as Sort })}
          >
            <option value="max">strongest here</option>
            <option value="mean">mean where it fires</option>
            <option value="share">on most tokens</option>
            <option value="token">at the chosen token</option>
            <option value="index">by number</option>
          </select>
        </label>
        <label class="sae-field" title="What a full shade stands for">
          <span>Scale</span>
          <select
            value={scale}
            onChange={(event) => save(model, { scale: event.currentTarget.value as Scale })}
          >
            <option value="peak">{peaks ? "× feature peak" : "of each row"}</option>
            <option value="text">of this text</option>
          </select>
        </label>
        <label
          class="sae-field"
          title="Hide features that fire on a larger share of the corpus's tokens than this"
        >
          <span>Hide dense</span>
          <DenseSelect value={dense} onChange={(value) => save(model, { dense: value })} />
        </label>
        {paintable && (
          <PaintTool
            brush={painting ? brush : null}
            unit={unit}
            disabled={why}
            onToggle={() => toggle(!painting)}
            onBrush={load}
          />
        )}
        <span class="sae-grow" />
        <span class="sae-count">
          {message ??
            (painting // the brush takes its room, so that nothing moves
              ? ""
              : `${order.length} of ${count(view.active, "feature")} · ${count(view.tokens.length, "token")}`)}
        </span>
      </div>
      {view.note && <div class="sae-note">{view.note}</div>}
      <div class="sae-body">
        {order.length > 0 ? (
          <ScoreView
            palette={palette}
            view={view}
            cells={cells}
            order={order}
            largest={largest}
            painted={painted}
            selected={selected}
            token={token}
            old={old}
            loose={steerable}
            brush={painting ? brush : null}
            onPaint={(index, values) => {
              const feature = view.features[index]?.feature;
              if (alive && ready && feature !== undefined) paint(feature, values);
            }}
            onHover={setHover}
            onPick={pick}
            onSteer={(index) => {
              const feature = view.features[index]?.feature;
              if (feature !== undefined) steer(feature);
            }}
          />
        ) : (
          <p class="sae-empty">
            {view.features.length > 0
              ? `Every feature here is denser than ${percent(dense)}: show denser ones.`
              : "No feature fires on this text."}
          </p>
        )}
        <aside class="sae-side">
          {selected === null ? (
            <p class="sae-soft sae-hint">
              Click a cell or a name to see what the feature is.
              {steerable && " Double-click to steer it, or drag its name into a steering panel."}
            </p>
          ) : (
            <FeatureCard
              feature={selected}
              sae={view.sae}
              row={row}
              card={card.feature === selected && card.sae === view.sae ? card : (kept ?? card)}
              mark={mark}
              steered={steered === `${view.sae} ${selected}`}
              onSteer={steerable ? () => steer(selected) : null}
            />
          )}
        </aside>
      </div>
      <Ending
        class="sae-legend"
        facts={[view.model, view.hook, view.width ? count(view.width, "feature") : ""]}
        about={about}
      >
        <span class="sae-mono">0</span>
        <span
          class="sae-ramp"
          style={{ background: palette ? gradient(palette.ramp) : undefined }}
        />
        <span class="sae-mono">{top}</span>
        {view.explained && (
          <span title="How much of each token's activation the features account for">
            ▬ share of the activation explained
          </span>
        )}
        {painted.size > 0 && (
          <span
            title={`How strongly the edits push the feature at the token in this place, in any text; a full cell: ${STRONGEST} ${unit}`}
          >
            <i class="sae-swatch" /> painted
          </span>
        )}
      </Ending>
      <Spoken text={said} />
    </div>
  );
}

const SHARES = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01];

function DenseSelect({ value, onChange }: { value: number; onChange: (value: number) => void }) {
  const shares = SHARES.includes(value) ? SHARES : [...SHARES, value].sort((a, b) => b - a);
  return (
    <select value={String(value)} onChange={(event) => onChange(Number(event.currentTarget.value))}>
      {shares.map((share) => (
        <option key={share} value={String(share)}>
          {share >= 1 ? "none" : `> ${percent(share)}`}
        </option>
      ))}
    </select>
  );
}

function gradient(colors: readonly string[]): string {
  const stops = Array.from(
    { length: 9 },
    (_, i) => colors[Math.round((i / 8) * (colors.length - 1))],
  );
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

/** The rows that are painted in a view, the person's own strokes among them, and how to paint one. */
function usePainted(model: Model, view: View) {
  const painted = useTrait(model, "painted");
  useTrait(model, "taken");
  const saes = useTrait(model, "saes");
  const [, redraw] = useState(0);
  /** Rows that the kernel has not taken yet: each under the id it was sent with; 0 before that. */
  const drafts = useRef<(PaintedRow & { id: number })[]>([]);
  const waiting = () => {
    const taken = model.get("taken");
    drafts.current = drafts.current.filter(({ id }) => id === 0 || id > taken);
    return drafts.current;
  };
  const { pace, send } = useMemo(() => {
    const send = () => {
      const id = 1 + Math.max(model.get("paint").id ?? 0, model.get("taken"));
      // With those that were sent before: Jupyter sends the newest value of a trait and no other.
      const rows = waiting().map(({ id: _, ...row }) => row);
      drafts.current = drafts.current.map((row) => ({ ...row, id: row.id || id }));
      save(model, { paint: { id, rows } });
    };
    return { pace: throttle(send, PACE), send };
  }, [model]);
  useEffect(
    () => () => {
      pace.cancel();
      if (drafts.current.some(({ id }) => id === 0)) send();
    },
    [pace],
  );

  const fresh = (feature: number): Painted => {
    const peak = view.features.find((row) => row.feature === feature)?.peak ?? null;
    const unit = unitFor(
      peak,
      saes.find(({ name }) => name === view.sae),
    );
    return { sae: view.sae, feature, op: "add", unit, on: true, values: [] };
  };
  return {
    painted: overlaid(painted ?? [], waiting(), view.sae, fresh),
    paintable: painted !== null,
    paint: (feature: number, values: number[]) => {
      const row = { sae: view.sae, feature, values, id: 0 };
      const others = drafts.current.filter((d) => d.feature !== feature || d.sae !== view.sae);
      drafts.current = [...others, row];
      redraw((n) => n + 1);
      pace.call();
    },
  };
}

/** The view, once there is one. */
function useView(model: Model): View | null {
  const view = useTrait(model, "view");
  return view.tokens ? (view as View) : null;
}

export default widget<HeatmapTraits>("heatmap", "Feature heatmap", Heatmap);
