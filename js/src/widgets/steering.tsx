/** The steering widget: turn features up and down, and watch what the model then writes. */

import type { AnyModel, RenderProps } from "@anywidget/types";
import { render as mount } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { newEdit } from "../edits";
import { EditRow } from "../parts/edit";
import { Frame, SILENT, Spoken, Trouble, useHost } from "../parts/frame";
import { assign, save, throttle, useDraft, useElapsed, useTrait } from "../parts/host";
import { Panes } from "../parts/panes";
import { FeaturePicker } from "../parts/picker";
import { TextBox } from "../parts/textbox";
import { count, number, seconds } from "../text";
import type { Arm, Edit, Run, SteeringFeature, SteeringTraits, TokensMessage } from "../wire";
import "./steering.css";

type Model = AnyModel<SteeringTraits>;

/** While something is dragged, a run is asked for so often at most; in milliseconds. */
const PACE = 80;
/** A prompt is run by itself when typing has paused for so long. */
const PAUSE = 700;
const EXAMPLE = "The captain opened the";

function Steering({ model }: { model: Model }) {
  const { alive } = useHost();
  const status = useTrait(model, "status");
  const request = useTrait(model, "request");
  const prompt = useTrait(model, "prompt");
  const edits = useTrait(model, "edits");
  const live = useTrait(model, "live");
  const saes = useTrait(model, "saes");
  const features = useTrait(model, "features");
  const selected = useTrait(model, "selected");
  const written = useTrait(model, "run");
  const stream = useStream(model);
  const picker = useRef<HTMLInputElement>(null);
  const [draft, setDraft, sendDraft] = useDraft(prompt);

  const current = Math.max(request.id ?? 0, status.id);
  const working = alive && ((request.id ?? 0) > status.id || status.state === "working");
  const since = useMemo(() => (working ? performance.now() : null), [working, current]);
  const elapsed = useElapsed(since);

  const ask = (changes: Partial<SteeringTraits> = {}) => {
    assign(model, changes);
    const id = 1 + Math.max(model.get("request").id ?? 0, model.get("status").id);
    save(model, {
      request: {
        id,
        prompt: model.get("prompt"),
        length: model.get("length"),
        temperature: model.get("temperature"),
        seed: model.get("seed"),
        edits: model.get("edits"),
      },
    });
  };
  const pace = useMemo(
    () =>
      throttle((again: boolean) => {
        if (again) ask();
        else model.save_changes();
      }, PACE),
    [model],
  );
  const timer = useRef<ReturnType<typeof setTimeout>>();
  useEffect(
    () => () => {
      pace.cancel();
      clearTimeout(timer.current);
    },
    [pace],
  );

  /** Something that the model's text depends on has changed. */
  const change = (values: Partial<SteeringTraits>) => {
    assign(model, values);
    const again = model.get("live") && model.get("prompt") !== "";
    if (again && !alive) missed.current = true;
    pace.call(again && alive);
  };
  const run = (text = draft) => {
    clearTimeout(timer.current);
    pace.cancel();
    if (!alive || text === "") return;
    sendDraft(text);
    ask({ prompt: text });
  };
  // What was changed while the kernel was silent is run when it answers again.
  const missed = useRef(false);
  useEffect(() => {
    if (!alive || !live || !(missed.current || draft !== prompt)) return;
    missed.current = false;
    run();
  }, [alive]);
  const stop = () => save(model, { stop: current });
  const typed = (text: string) => {
    setDraft(text);
    clearTimeout(timer.current);
    if (live) timer.current = setTimeout(() => text !== model.get("prompt") && run(text), PAUSE);
  };
  const setEdit = (at: number, edit: Edit | null) =>
    change({
      edits: edits.flatMap((each, i) => (i !== at ? [each] : edit === null ? [] : [edit])),
    });
  const history = useHistory(edits, (next) => change({ edits: next }));

  const press = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    if (event.key === "Escape" && working) stop();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
    if (event.key === "/") picker.current?.focus();
    else if (event.key === "z") history.undo();
    else if (event.key === "Z") history.redo();
    else return;
    event.preventDefault();
  };

  const streamed = request.id === stream.id ? (request.prompt ?? prompt) : prompt;
  const shown = useShown(written, stream, working, current, streamed);
  const sae = (name: string | null | undefined) =>
    saes.find((each) => each.name === name) ?? saes[0];
  const find = (edit: Edit): SteeringFeature | undefined =>
    features.find(
      (each) => each.feature === edit.feature && each.sae === (edit.sae ?? saes[0]?.name),
    );
  const unsent = draft !== (shown?.prompt ?? "") && !working;
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys of the controls inside
    <div onKeyDown={press}>
      <form
        class="sae-bar"
        onSubmit={(event) => {
          event.preventDefault();
          run();
        }}
      >
        <TextBox
          value={draft}
          label="prompt"
          placeholder="Type the start of a text"
          title="The prompt; Enter runs it, Shift+Enter starts a new line"
          onInput={typed}
          onEnter={run}
        />
        <Settings model={model} onChange={change} />
        <span class="sae-buttons">
          <button
            type="button"
            class="sae-quiet"
            aria-label="undo"
            title="Undo the last change of the edits (Z)"
            disabled={!history.past}
            onClick={history.undo}
          >
            ↶
          </button>
          <button
            type="button"
            class="sae-quiet"
            aria-label="redo"
            title="Redo (Shift+Z)"
            disabled={!history.future}
            onClick={history.redo}
          >
            ↷
          </button>
          <button
            type="button"
            disabled={!alive || !working}
            title={alive ? "Stop writing (Escape)" : SILENT}
            onClick={stop}
          >
            Stop
          </button>
          <button
            type="submit"
            class="sae-primary"
            disabled={!alive || draft === ""}
            title={alive ? "Write both texts (Enter in the prompt)" : SILENT}
          >
            Run
          </button>
        </span>
      </form>
      <Trouble status={status} />
      {edits.map((edit, i) => (
        <EditRow
          key={i}
          edit={edit}
          feature={find(edit)}
          sae={edit.vector ? undefined : sae(edit.sae)}
          selected={selected !== null && edit.feature === selected}
          onChange={(next) => setEdit(i, next)}
          onSelect={() => edit.feature !== undefined && save(model, { selected: edit.feature })}
          onRemove={() => setEdit(i, null)}
        />
      ))}
      <div class="sae-bar sae-adding">
        <FeaturePicker
          features={features}
          saes={saes}
          input={picker}
          onAdd={(feature) => change({ edits: [...edits, newEdit(feature)] })}
        />
        <label class="sae-field" title="Write again while something is dragged or changed">
          <input
            type="checkbox"
            checked={live}
            onChange={(event) => change({ live: event.currentTarget.checked })}
          />
          <span>live</span>
        </label>
      </div>
      {shown ? (
        <Panes
          prompt={shown.prompt}
          arms={shown.arms}
          before={shown.before}
          writing={working}
          old={shown.old || unsent || status.state === "error"}
        />
      ) : working ? (
        <p class="sae-empty">writing … {seconds(elapsed)}</p>
      ) : (
        <p class="sae-empty">
          Type the start of a text above and press Run, or try this one:{" "}
          <button
            type="button"
            class="sae-example sae-mono"
            disabled={!alive}
            onClick={() => run(EXAMPLE)}
          >
            {EXAMPLE}
          </button>
        </p>
      )}
      {shown && (
        <Receipt
          run={shown.old || working || status.state !== "done" ? null : (written as Run)}
          edits={edits}
          message={
            working
              ? `writing … ${seconds(elapsed)}`
              : status.state === "stopped"
                ? `stopped after ${count(shown.arms[0]?.tokens.length ?? 0, "token")}`
                : unsent
                  ? "of the prompt before; Enter runs the new one"
                  : ""
          }
        />
      )}
      <Spoken text={working ? (elapsed > 1 ? "writing" : "") : spoken(status.state, shown?.arms)} />
    </div>
  );
}

interface SettingsProps {
  model: Model;
  onChange: (values: Partial<SteeringTraits>) => void;
}

function Settings({ model, onChange }: SettingsProps) {
  const length = useTrait(model, "length");
  const temperature = useTrait(model, "temperature");
  const seed = useTrait(model, "seed");
  return (
    <span class="sae-settings">
      <NumberBox
        value={length}
        min={1}
        max={2000}
        step={1}
        label="tokens to write"
        onChange={(value) => onChange({ length: value })}
      />
      <span>tokens</span>
      <span class="sae-setting">T</span>
      <NumberBox
        value={temperature}
        min={0}
        max={10}
        step={0.1}
        label="temperature: 0 always takes the likeliest token"
        onChange={(value) => onChange({ temperature: value })}
      />
      <span class="sae-setting">seed</span>
      <NumberBox
        value={seed}
        min={0}
        max={Number.MAX_SAFE_INTEGER}
        step={1}
        label="seed: the same seed writes the same text; both texts share it"
        onChange={(value) => onChange({ seed: value })}
      />
    </span>
  );
}

interface NumberBoxProps {
  value: number;
  min: number;
  max: number;
  step: number;
  label: string;
  onChange: (value: number) => void;
}

function NumberBox({ value, min, max, step, label, onChange }: NumberBoxProps) {
  return (
    <input
      class="sae-box sae-mono"
      type="number"
      value={value}
      min={min}
      max={max}
      step={step === 1 ? 1 : "any"}
      size={4}
      aria-label={label}
      title={label}
      onChange={(event) => {
        const box = event.currentTarget;
        const typed = step === 1 ? Math.round(box.valueAsNumber) : box.valueAsNumber;
        const next = Number.isFinite(typed) ? Math.min(max, Math.max(min, typed)) : value;
        box.value = String(next);
        if (next !== value) onChange(next);
      }}
    />
  );
}

interface ReceiptProps {
  run: Run | null;
  edits: readonly Edit[];
  message: string;
}

const ENDS: Record<string, string> = {
  length: "",
  end: "the text ended",
  stopped: "stopped",
  context: "the context is full",
};

/** What was really done to the model: proof, not promise. */
function Receipt({ run, edits, message }: ReceiptProps) {
  const asked = (run?.request.edits ?? edits).some((edit) => edit.on ?? true);
  return (
    <div class="sae-foot sae-number">
      {run ? (
        <>
          <span class={asked ? (touched(run) > 0 ? "sae-ok" : "sae-warn") : ""}>
            {asked ? `● applied at ${places(run)}` : "no edits: both texts are the model's own"}
          </span>
          {asked && run.ratio !== null && (
            <span title="How large the change was against the activation it changed, on average">
              ‖Δ‖/‖h‖ {number(run.ratio)}
            </span>
          )}
          {run.note && <span>{run.note}</span>}
        </>
      ) : (
        <span>{message}</span>
      )}
      <span class="sae-grow" />
      {run && (
        <span
          title={`The hook ran ${run.calls.prefill} × on the prompt and ${run.calls.steps} × while writing`}
        >
          {[ENDS[run.ended] ?? run.ended, seconds(run.seconds)].filter(Boolean).join(" · ")}
        </span>
      )}
    </div>
  );
}

function touched({ positions }: Run): number {
  return Array.isArray(positions) ? positions[0] + positions[1] : (positions ?? 0);
}

function places({ positions }: Run): string {
  if (Array.isArray(positions)) return `${positions[0]} + ${positions[1]} positions`;
  return count(positions ?? 0, "position");
}

function spoken(state: string, arms: readonly Arm[] | undefined): string {
  if (state === "stopped") return "stopped";
  return state === "done" && arms?.[1] ? `steered: ${arms[1].tokens.join("")}` : "";
}

interface Stream {
  id: number;
  arms: string[][];
}

/** The tokens of the newest run, as they come. */
function useStream(model: Model): Stream {
  const [stream, setStream] = useState<Stream>({ id: 0, arms: [] });
  useEffect(() => {
    const heard = (message: Partial<TokensMessage>) => {
      if (message?.kind !== "tokens") return;
      const { id = 0, arms = [] } = message;
      setStream((so) => {
        if (id < so.id) return so; // of a run that was replaced
        const old = id === so.id ? so.arms : [];
        return { id, arms: arms.map((tokens, i) => [...(old[i] ?? []), ...tokens]) };
      });
    };
    model.on("msg:custom", heard);
    return () => model.off("msg:custom", heard);
  }, [model]);
  return stream;
}

interface Shown {
  prompt: string;
  arms: Arm[];
  before: Arm[];
  old: boolean;
}

/** What the panes show: the run, or the run that is being written over what stood there. */
function useShown(
  written: Partial<Run>,
  stream: Stream,
  working: boolean,
  current: number,
  /** The prompt of the stream. */
  prompt: string,
): Shown | null {
  const last = useRef<Shown | null>(null);
  const before = useRef<Shown | null>(null);
  const done = written.arms ? (written as Run) : null;
  const now = useMemo((): Shown | null => {
    if (done && done.id >= stream.id && (done.id >= current || !working)) {
      return { prompt: done.request.prompt, arms: done.arms, before: [], old: false };
    }
    if (stream.id >= current && stream.id > (done?.id ?? 0)) {
      const arms = stream.arms.map((tokens, i) => ({
        name: done?.arms[i]?.name ?? (i === 0 ? "base" : "steered"),
        tokens,
        nll: null,
      }));
      // Old words after a new prompt would be read as its own.
      const stood = working && before.current?.prompt === prompt ? before.current.arms : [];
      return { prompt, arms, before: stood, old: false };
    }
    return last.current && { ...last.current, before: [], old: working };
  }, [done, stream, working, current, prompt]);
  if (now) {
    if (now.before.length === 0 && (done?.id ?? 0) >= stream.id) before.current = now;
    last.current = now;
  }
  return now;
}

/** Undo and redo. Changes that follow each other closely, as in a drag, are one step. */
function useHistory(edits: Edit[], restore: (edits: Edit[]) => void) {
  const state = useRef({
    past: [] as Edit[][],
    future: [] as Edit[][],
    now: edits,
    at: Number.NEGATIVE_INFINITY,
    own: false,
  });
  const so = state.current;
  if (so.now !== edits) {
    const time = performance.now();
    if (!so.own) {
      if (time - so.at > 600) so.past.push(so.now);
      so.future = [];
      so.at = time;
    } else so.at = Number.NEGATIVE_INFINITY;
    so.own = false;
    so.now = edits;
  }
  const go = (from: Edit[][], to: Edit[][]) => {
    const next = from.pop();
    if (!next) return;
    to.push(so.now);
    so.own = true;
    restore(next);
  };
  return {
    past: so.past.length > 0,
    future: so.future.length > 0,
    undo: () => go(so.past, so.future),
    redo: () => go(so.future, so.past),
  };
}

function render({ model, el }: RenderProps<SteeringTraits>) {
  mount(
    <Frame model={model} name="steering" label="Steering">
      <Steering model={model} />
    </Frame>,
    el,
  );
  return () => mount(null, el);
}

export default { render };
