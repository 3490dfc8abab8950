/** The steering widget: turn features up and down, and watch what the model then writes. */

import type { AnyModel } from "@anywidget/types";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { factorBetween, newEdit, sameEdits, scaled } from "../edits";
import { Box } from "../parts/box";
import { useDrop } from "../parts/drop";
import { EditRow } from "../parts/edit";
import { Spoken, Trouble, useHost, widget } from "../parts/frame";
import { save, throttle, useDraft, useElapsed, usePending, useTrait } from "../parts/host";
import { Panes } from "../parts/panes";
import { FeaturePicker } from "../parts/picker";
import { Also, Overlaps, useProof } from "../parts/proof";
import { armsAt, pointsOf, SweepStrip } from "../parts/sweep";
import { TextBox } from "../parts/textbox";
import { count, number, parseNumber, seconds } from "../text";
import type {
  Arm,
  Control,
  Edit,
  Effects,
  Run,
  RunRequest,
  SteeringFeature,
  SteeringTraits,
  TokensMessage,
} from "../wire";
import "./steering.css";

type Model = AnyModel<SteeringTraits>;
/** What a run depends on, beside its prompt. */
type Settings = Pick<RunRequest, "length" | "temperature" | "seed" | "edits" | "control">;

/** While something is dragged, a run is asked for so often at most; in milliseconds. */
const PACE = 80;
/** A prompt is run by itself when typing has paused for so long. */
const PAUSE = 700;
const EXAMPLE = "The captain opened the";
/** The traits that change faster than they are sent. */
const CHANGED = ["edits", "live", "length", "temperature", "seed", "control"] as const;
/** The first arms of a run; what is streamed does not name them. */
const STREAMED = [{ name: "base" }, { name: "steered" }];
/** What the edits can be compared with, in words. */
const CONTROLS: Record<Control, string> = {
  "": "nothing",
  random: "a random direction",
  flipped: "the opposite direction",
  neighbour: "the nearest other feature",
  placebo: "the nearest feature of a placebo",
};

function Steering({ model }: { model: Model }) {
  const { alive, heard, recorded, why } = useHost();
  const status = useTrait(model, "status");
  const request = useTrait(model, "request");
  const prompt = useTrait(model, "prompt");
  const pending = usePending(model);
  for (const name of CHANGED) useTrait(model, name);
  const edits = pending.get("edits");
  const live = pending.get("live");
  const settings: Settings = {
    length: pending.get("length"),
    temperature: pending.get("temperature"),
    seed: pending.get("seed"),
    edits,
    control: pending.get("control"),
  };
  const saes = useTrait(model, "saes");
  const features = useTrait(model, "features");
  const selected = useTrait(model, "selected");
  const chosen = useTrait(model, "sae");
  const written = useTrait(model, "run");
  const effects = useTrait(model, "effects");
  const swept = useTrait(model, "swept");
  const [seen, setSeen] = useState<number | null>(null);
  const stream = useStream(model);
  const picker = useRef<HTMLInputElement>(null);
  const [draft, setDraft, sendDraft] = useDraft(prompt);

  const current = Math.max(request.id ?? 0, status.id);
  const working = alive && heard && ((request.id ?? 0) > status.id || status.state === "working");
  const since = useMemo(() => (working ? performance.now() : null), [working, current]);
  const elapsed = useElapsed(since);

  const ask = (prompt = model.get("prompt")) => {
    const id = 1 + Math.max(model.get("request").id ?? 0, model.get("status").id);
    pending.send({
      prompt,
      request: {
        id,
        prompt,
        length: pending.get("length"),
        temperature: pending.get("temperature"),
        seed: pending.get("seed"),
        edits: pending.get("edits"),
        control: pending.get("control"),
      },
    });
  };
  const sweep = () => {
    if (!alive || draft === "" || !edits.some((edit) => edit.on ?? true)) return;
    if (draft !== shown?.prompt) run(); // its curve stands below the texts
    const id = 1 + Math.max(model.get("sweep").id ?? 0, swept.id ?? 0);
    save(model, { sweep: { ...settings, id, prompt: draft } });
  };
  const pace = useMemo(
    () =>
      throttle((again: boolean) => {
        if (again) ask();
        else pending.send();
      }, PACE),
    [pending],
  );
  const timer = useRef<ReturnType<typeof setTimeout>>();
  useEffect(
    () => () => {
      pace.cancel();
      if (pending.any()) pending.send();
      clearTimeout(timer.current);
    },
    [pace],
  );

  /** Something that the model's text depends on has changed. */
  const change = (values: Partial<SteeringTraits>) => {
    pending.put(values);
    const again = pending.get("live") && model.get("prompt") !== "";
    if (again && !alive) missed.current = true;
    pace.call(again && alive);
  };
  const run = (text = draft) => {
    clearTimeout(timer.current);
    if (!alive || text === "") return;
    pace.cancel();
    sendDraft(text);
    ask(text);
  };
  // What was changed while the kernel was silent is run when it answers again.
  const missed = useRef(false);
  useEffect(() => {
    if (!alive || !live || !(missed.current || draft !== prompt)) return;
    missed.current = false;
    run();
  }, [alive]);
  const sweeping = alive && swept.state === "working";
  const stop = () =>
    save(model, { ...(working && { stop: current }), ...(sweeping && { sweep: {} }) });
  const typed = (text: string) => {
    setDraft(text);
    clearTimeout(timer.current);
    if (live) timer.current = setTimeout(() => text !== model.get("prompt") && run(text), PAUSE);
  };
  const setEdit = (at: number, edit: Edit | null) =>
    change({
      edits: edits.flatMap((each, i) => (i !== at ? [each] : edit === null ? [] : [edit])),
    });
  // What had the focus goes with its row: it is handed on, or the next key would be the notebook's.
  const frame = useRef<HTMLDivElement>(null);
  const removed = useRef<number | null>(null);
  useEffect(() => {
    if (removed.current === null) return;
    const names = frame.current?.querySelectorAll<HTMLElement>(".sae-name");
    (names?.[removed.current] ?? picker.current)?.focus();
    removed.current = null;
  }, [edits]);
  const remove = (at: number) => {
    removed.current = at;
    setEdit(at, null);
  };
  const pick = (sae: string, feature: number) =>
    save(model, { pick: { id: 1 + (model.get("pick").id ?? 0), sae, feature } });
  const drop = useDrop(saes, features, (feature) => {
    const same = (edit: Edit) =>
      edit.feature === feature.feature && sae(edit.sae)?.name === feature.sae;
    if (!edits.some(same)) change({ edits: [...edits, newEdit(feature, sae(feature.sae))] });
    pick(feature.sae, feature.feature);
  });
  const history = useHistory(edits, (next) => change({ edits: next }));

  const press = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    if (event.key === "Escape" && (working || sweeping)) stop();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
    if (event.key === "/") picker.current?.focus();
    else if (event.key === "z") history.undo();
    else if (event.key === "Z") history.redo();
    else return;
    event.preventDefault();
  };

  const streamed = request.id === stream.id && request.edits ? (request as RunRequest) : null;
  const shown = useShown(written, stream, working, current, streamed, {
    prompt,
    control: settings.control,
  });
  const sae = (name: string | null | undefined) =>
    saes.find((each) => each.name === name) ?? saes[0];
  const find = (edit: Edit): SteeringFeature | undefined =>
    features.find(
      (each) => each.feature === edit.feature && each.sae === (edit.sae ?? saes[0]?.name),
    );
  const settled = !working && !(live && pending.any());
  const unsent = settled && draft !== (shown?.prompt ?? "");
  const stale = settled && !unsent && shown?.request != null && differs(shown.request, settings);
  const stopped =
    status.state === "stopped" || (written.ended === "stopped" && written.id === status.id);
  const notes = [
    !stopped
      ? ""
      : shown?.old
        ? "stopped before the first token"
        : `stopped after ${count(shown?.arms[0]?.tokens.length ?? 0, "token")}`,
    unsent ? "of the prompt before" : stale ? "of the settings before" : "",
  ];
  const outdated = shown?.old || unsent || stale;
  // While the texts are written, the old measurements stand until there are new ones.
  const measured = working || effects.id === current ? effects : {};
  const sweptAt = factorBetween(swept.request?.edits ?? [], edits);
  const comparable =
    swept.state === "done" &&
    sweptAt !== null &&
    swept.request !== undefined &&
    !differs({ ...swept.request, edits, control: settings.control }, settings) &&
    swept.request.prompt === shown?.prompt;
  const looked = comparable && seen !== null ? armsAt(swept, seen) : null;
  const proof = !outdated && !working && effects.id === written.id ? effects : {};
  const advice = unsent ? "Enter runs the new one" : "Run writes anew";
  if ((unsent || stale) && alive && draft !== "") notes.push(advice);
  return (
    // biome-ignore lint/a11y/noStaticElementInteractions: keys of the controls inside
    <div ref={frame} onKeyDown={press} {...(!recorded && drop)}>
      <form
        class="sae-bar"
        noValidate
        onSubmit={(event) => {
          event.preventDefault();
          run();
        }}
      >
        <TextBox
          value={draft}
          label="prompt"
          placeholder="Type the start of a text"
          title={(recorded && why) || "The prompt; Enter runs it, Shift+Enter starts a new line"}
          readOnly={recorded}
          onInput={typed}
          onEnter={run}
        />
        <fieldset class="sae-all" disabled={recorded} title={(recorded && why) || undefined}>
          <SettingBoxes value={settings} onChange={change} />
        </fieldset>
        <span class="sae-buttons">
          <button
            type="button"
            class="sae-quiet"
            aria-label="undo"
            title="Undo the last change of the edits (Z)"
            aria-disabled={!history.past}
            onClick={history.undo}
          >
            ↶
          </button>
          <button
            type="button"
            class="sae-quiet"
            aria-label="redo"
            title="Redo (Shift+Z)"
            aria-disabled={!history.future}
            onClick={history.redo}
          >
            ↷
          </button>
          <button
            type="button"
            aria-disabled={!alive || !(working || sweeping)}
            title={why ?? "Stop writing (Escape)"}
            onClick={() => (working || sweeping) && stop()}
          >
            Stop
          </button>
          <button
            type="submit"
            class="sae-primary"
            aria-disabled={!alive || draft === ""}
            title={why ?? "Write the texts (Enter in the prompt)"}
          >
            Run
          </button>
        </span>
      </form>
      <Trouble status={status} />
      <fieldset class="sae-all" disabled={recorded} title={(recorded && why) || undefined}>
        {edits.map((edit, i) => (
          <EditRow
            key={i}
            edit={edit}
            feature={find(edit)}
            sae={edit.vector ? undefined : sae(edit.sae)}
            selected={
              selected !== null && edit.feature === selected && sae(edit.sae)?.name === chosen
            }
            onChange={(next) => setEdit(i, next)}
            onSelect={() => {
              const name = sae(edit.sae)?.name;
              if (edit.feature !== undefined && name) pick(name, edit.feature);
            }}
            onRemove={() => remove(i)}
          />
        ))}
        <Overlaps overlaps={stale ? [] : (measured.overlaps ?? [])} />
        <div class="sae-bar sae-adding">
          <FeaturePicker
            features={features}
            saes={saes}
            chosen={chosen}
            input={picker}
            onAdd={(feature) => change({ edits: [...edits, newEdit(feature, sae(feature.sae))] })}
          />
          <label
            class="sae-field"
            title="A third text beside the two: as strong a push at the same tokens, in another direction"
          >
            <span>compare with</span>
            <select
              value={settings.control}
              onChange={(event) => change({ control: event.currentTarget.value as Control })}
            >
              {Object.entries(CONTROLS)
                .filter(([name]) => name !== "placebo" || saes.some((each) => each.placebo))
                .map(([name, words]) => (
                  <option key={name} value={name} selected={name === settings.control}>
                    {words}
                  </option>
                ))}
            </select>
          </label>
          <button
            type="button"
            aria-disabled={!alive || draft === "" || !edits.some((edit) => edit.on ?? true)}
            title={why ?? "Write with the edits at many strengths at once, beside a control"}
            onClick={sweep}
          >
            sweep
          </button>
          <label class="sae-field" title="Write again while something is dragged or changed">
            <input
              type="checkbox"
              checked={live}
              onChange={(event) => change({ live: event.currentTarget.checked })}
            />
            <span>live</span>
          </label>
        </div>
      </fieldset>
      {shown && looked ? (
        <Panes
          prompt={shown.prompt}
          arms={looked.slice(0, shown.arms.length)}
          before={[]}
          writing={false}
          old={false}
          strip={{}}
          kl={pointsOf(swept)[seen ?? 0]?.kl ?? null}
        />
      ) : shown ? (
        <Panes
          prompt={shown.prompt}
          arms={shown.arms}
          before={shown.before}
          writing={working}
          old={outdated || status.state === "error"}
          strip={measured}
          kl={proof.mean ?? null}
        />
      ) : working ? (
        <p class="sae-empty">writing … {seconds(elapsed)}</p>
      ) : (
        <p class="sae-empty">
          Type the start of a text above and press Run, or try this one:{" "}
          <button
            type="button"
            class="sae-example sae-mono"
            aria-disabled={!alive}
            title={why ?? undefined}
            onClick={() => {
              run(EXAMPLE);
              frame.current?.querySelector("textarea")?.focus(); // this button goes away
            }}
          >
            {EXAMPLE}
          </button>
        </p>
      )}
      {shown && swept.arms && (
        <div
          class={comparable ? "" : "sae-old"}
          title={
            comparable || sweeping ? undefined : "Of other edits or settings; press sweep again"
          }
        >
          <SweepStrip
            sweep={swept}
            at={comparable ? sweptAt : null}
            seen={seen}
            onSee={(point) => setSeen(comparable ? point : null)}
            onTake={(factor) => {
              if (recorded || !comparable || !swept.request) return;
              setSeen(null);
              change({ edits: swept.request.edits.map((edit) => scaled(edit, factor)) });
            }}
          />
        </div>
      )}
      {swept.state !== undefined &&
        swept.state !== "done" &&
        (alive || swept.state === "error") && (
          <p class="sae-soft sae-tiny sae-sweeping" role="status" title={swept.detail || undefined}>
            {swept.state === "working" ? "sweeping …" : `no sweep: ${swept.text}`}
          </p>
        )}
      <Also
        also={proof.also ?? []}
        disabled={alive ? null : (why ?? "the kernel is silent")}
        onSelect={({ sae, feature }) => pick(sae, feature)}
      />
      {shown && (
        <Receipt
          run={outdated || working || status.state !== "done" ? null : (written as Run)}
          effects={proof}
          edits={edits}
          trouble={effects.id === current ? effects.trouble : undefined}
          message={
            working ? `writing … ${seconds(elapsed)}` : notes.filter((note) => note).join("; ")
          }
        />
      )}
      <Spoken
        text={
          working
            ? elapsed > 1
              ? "writing"
              : ""
            : stopped
              ? "stopped"
              : spoken(status.state, shown?.arms)
        }
      />
    </div>
  );
}

/** Whether a run of `request` is not what the present settings would write. */
function differs(request: RunRequest, now: Settings): boolean {
  return (
    request.length !== now.length ||
    request.temperature !== now.temperature ||
    request.seed !== now.seed ||
    (request.control ?? "") !== now.control ||
    !sameEdits(request.edits, now.edits)
  );
}

interface SettingBoxesProps {
  value: Settings;
  onChange: (values: Partial<Settings>) => void;
}

function SettingBoxes({ value: { length, temperature, seed }, onChange }: SettingBoxesProps) {
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
    <Box
      type="number"
      text={String(value)}
      min={min}
      max={max}
      step={step}
      size={4}
      aria-label={label}
      title={label}
      wanted={max > 1e6 ? `a number from ${min}` : `a number from ${min} to ${max}`}
      read={(text) => {
        const typed = parseNumber(text);
        return typed === null || typed < min || typed > max ? null : typed;
      }}
      onTake={(typed) => {
        const next = step === 1 ? Math.round(typed) : typed;
        if (next !== value) onChange(next);
      }}
    />
  );
}

interface ReceiptProps {
  run: Run | null;
  effects: Partial<Effects>;
  /** Why nothing was measured. */
  trouble: string | undefined;
  edits: readonly Edit[];
  message: string;
}

const ENDS: Record<string, string> = {
  length: "",
  end: "the text ended",
  context: "the context is full",
};

/** What was really done to the model: proof, not promise. */
function Receipt({ run, effects, trouble, edits, message }: ReceiptProps) {
  const proof = useProof(effects);
  const asked = (run?.request.edits ?? edits).some((edit) => edit.on ?? true);
  return (
    <>
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
            {trouble && <span class="sae-warn">not measured: {trouble}</span>}
          </>
        ) : (
          <span>{message}</span>
        )}
        <span class="sae-grow" />
        {run && (
          <span
            title={`The hook ran ${run.calls.prefill} × on the prompt and ${run.calls.steps} × while writing`}
          >
            {[ending(run), seconds(run.seconds)].filter(Boolean).join(" · ")}
          </span>
        )}
        {proof.buttons}
      </div>
      {proof.drawer}
    </>
  );
}

function ending({ ended, arms }: Run): string {
  if (ended === "stopped") return `stopped after ${count(arms[0]?.tokens.length ?? 0, "token")}`;
  return ENDS[ended] ?? ended;
}

function touched({ positions }: Run): number {
  return Array.isArray(positions) ? positions[0] + positions[1] : (positions ?? 0);
}

/** Of the positions that the model read: the prompt's, and one for each step after it. */
function places({ positions, prompt, calls }: Run): string {
  const read = prompt.length + calls.steps;
  if (Array.isArray(positions)) {
    return `${positions[0]} + ${positions[1]} of ${count(read, "position")}`;
  }
  return count(positions ?? 0, "position");
}

function spoken(state: string, arms: readonly Arm[] | undefined): string {
  return state === "done" && arms?.[1] ? `steered: ${arms[1].tokens.join("")}` : "";
}

interface Stream {
  id: number;
  arms: string[][];
}

/** What the newest run has written so far. */
function useStream(model: Model): Stream {
  const [stream, setStream] = useState<Stream>({ id: 0, arms: [] });
  useEffect(() => {
    const heard = (message: Partial<TokensMessage>) => {
      if (message?.kind !== "tokens") return;
      const { id = 0, arms = [] } = message;
      // One with a smaller id is of a run that was replaced.
      setStream((so) => (id < so.id ? so : { id, arms }));
    };
    model.on("msg:custom", heard);
    return () => model.off("msg:custom", heard);
  }, [model]);
  return stream;
}

interface Shown {
  prompt: string;
  /** What was asked for, where it is known. */
  request: RunRequest | null;
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
  /** The request of the stream; null where Python started it. */
  request: RunRequest | null,
  present: Pick<RunRequest, "prompt" | "control">,
): Shown | null {
  const last = useRef<Shown | null>(null);
  const before = useRef<Shown | null>(null);
  const done = written.arms ? (written as Run) : null;
  const { prompt, control } = request ?? present;
  const now = useMemo((): Shown | null => {
    if (done && done.id >= stream.id && (done.id >= current || !working)) {
      const { request, arms } = done;
      const nothing = done.ended === "stopped" && arms.every(({ tokens }) => tokens.length === 0);
      if (nothing && last.current) return { ...last.current, before: [], old: true };
      // Of a run that was stopped or failed before it wrote, there is only the one before it.
      return { prompt: request.prompt, request, arms, before: [], old: done.id < current };
    }
    if (stream.id >= current && stream.id > (done?.id ?? 0)) {
      const arms = stream.arms.map((tokens, i) => ({
        ...(STREAMED[i] ?? { name: "control", control }),
        tokens,
        nll: null,
      }));
      // Old words after a new prompt would be read as its own.
      const stood = working && before.current?.prompt === prompt ? before.current.arms : [];
      return { prompt, request, arms, before: stood, old: false };
    }
    return last.current && { ...last.current, before: [], old: working };
  }, [done, stream, working, current, request, prompt, control]);
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

export default widget<SteeringTraits>("steering", "Steering", Steering);
