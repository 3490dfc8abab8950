/** The steering widget: turn features up and down, and watch what the model then writes. */

import type { AnyModel } from "@anywidget/types";
import type { ComponentChild } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { counts, factorBetween, isOn, newEdit, scaled, solo } from "../edits";
import { brief } from "../history";
import { aboutThis } from "../parts/about";
import { Button, Select } from "../parts/choice";
import { useDrop } from "../parts/drop";
import { EditRow } from "../parts/edit";
import { Fader } from "../parts/fader";
import { Foot, stoppedAfter } from "../parts/foot";
import { Locked, Spoken, Trouble, useHost, widget } from "../parts/frame";
import { armsOf, besides, Tree } from "../parts/history";
import { save, throttle, useDraft, useElapsed, usePending, useTrait } from "../parts/host";
import { Panes } from "../parts/panes";
import { FeaturePicker } from "../parts/picker";
import { Presets } from "../parts/presets";
import { Also, Overlaps } from "../parts/proof";
import { RecordButton } from "../parts/record";
import { alike, differs, SettingBoxes, type Settings } from "../parts/settings";
import { useShown, useStream } from "../parts/stream";
import { armsAt, curvesOf, pointsOf, SweepStrip } from "../parts/sweep";
import { TextBox } from "../parts/textbox";
import { useUndo } from "../parts/undo";
import { replayOf, takesOf, ticksOf } from "../replay";
import { joined, seconds } from "../text";
import type {
  Arm,
  Control,
  Edit,
  Effects,
  Recorder,
  Run,
  RunRequest,
  State,
  SteeringFeature,
  SteeringTraits,
  Sweep,
} from "../wire";
import "./steering.css";

type Model = AnyModel<SteeringTraits>;

/** While something is dragged, a run is asked for so often at most; in milliseconds. */
const PACE = 80;
/** A prompt is run by itself when typing has paused for so long. */
const PAUSE = 700;
const PLAYS = "Sliders with ticks still work: their strengths were recorded.";
const EXAMPLE = "The captain opened the";
/** The traits that change faster than they are sent. */
const CHANGED = ["edits", "live", "length", "temperature", "seed", "control"] as const;
/** What the edits can be compared with, in words. */
const CONTROLS = [
  ["", "nothing"],
  ["random", "a random direction"],
  ["flipped", "the opposite direction"],
  ["neighbour", "the nearest other feature"],
  ["placebo", "the nearest feature of a placebo"],
] as const;

function Steering({ model }: { model: Model }) {
  const { alive, heard, recorded, why } = useHost();
  const status = useTrait(model, "status");
  const request = useTrait(model, "request");
  const prompt = useTrait(model, "prompt");
  const pending = usePending(model);
  for (const name of CHANGED) useTrait(model, name);
  const edits = pending.get("edits");
  const live = pending.get("live");
  const present = (): Settings => ({
    length: pending.get("length"),
    temperature: pending.get("temperature"),
    seed: pending.get("seed"),
    edits: pending.get("edits"),
    control: pending.get("control"),
  });
  const settings = present();
  const saes = useTrait(model, "saes");
  const placebos = saes.some((each) => each.placebo);
  const features = useTrait(model, "features");
  const selected = useTrait(model, "selected");
  const chosen = useTrait(model, "sae");
  const made = useTrait(model, "run");
  const told = useTrait(model, "effects");
  const latest = useTrait(model, "swept");
  const recording = useTrait(model, "recorded");
  const numbers = useTrait(model, "numbers");
  const recorder = useTrait(model, "recorder");
  const asked = useTrait(model, "record");
  const takes = useMemo(() => takesOf(recording, numbers), [recording, numbers]);
  const [seen, setSeen] = useState<number | null>(null);
  const [peek, setPeek] = useState<State | null>(null);
  const [pinnedId, pin] = useState<number | null>(null);
  const past = useTrait(model, "history");
  const pinned = past.find(({ id }) => id === pinnedId) ?? null;
  const here = useTrait(model, "here");
  const presets = useTrait(model, "presets");
  const about = useTrait(model, "about");
  const stream = useStream(model);
  const picker = useRef<HTMLInputElement>(null);
  const [draft, setDraft, sendDraft] = useDraft(prompt);

  const current = Math.max(request.id ?? 0, status.id);
  const working = alive && heard && ((request.id ?? 0) > status.id || status.state === "working");
  const since = useMemo(() => (working ? performance.now() : null), [working, current]);
  const elapsed = useElapsed(since);

  /** An id above those that were used for what is asked for in this trait. */
  const next = (name: "request" | "sweep" | "record" | "pick" | "preset", shown = 0) =>
    1 + Math.max(model.get(name).id ?? 0, shown);
  const ask = (prompt = model.get("prompt")) => {
    const id = next("request", model.get("status").id);
    pending.send({ prompt, request: { id, prompt, ...present() } });
  };
  const sweep = () => {
    if (draft !== shown?.prompt) run(); // its curve stands below the texts
    const id = next("sweep", latest.id);
    save(model, { sweep: { ...settings, id, prompt: draft } });
  };
  const strong = edits.filter((edit) => isOn(edit) && counts(edit.op) !== "nothing");
  const { length, temperature, seed } = settings;
  const wanted = { prompt: draft, length, temperature, seeds: [seed], edits: strong };
  /** Whether what was asked about is what would be recorded now: else its answer is not shown. */
  const apt =
    alive && JSON.stringify(asked) === JSON.stringify({ id: recorder.id, ...wanted, sure: false });
  const asks = recorder.state === "asks";
  const works = recorder.state === "working";
  /** A recording, which has a text, is seen until it ends, an estimate only while it is apt. */
  const estimate = works && !recorder.text && !asked.sure;
  const moot = !apt && (estimate || (asks && !asked.sure));
  const asking = apt && asks;
  /** Whether it is to be recorded, and the kernel has not heard of it yet. */
  const confirmed = Boolean(asked.sure) && (asked.id ?? 0) > (recorder.id ?? 0);
  const atWork = alive && works && !moot;
  const estimating = apt && estimate;
  const record = () =>
    save(model, { record: { id: next("record", recorder.id), ...wanted, sure: asking } });
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
  const sweeping = alive && latest.state === "working";
  const taking = atWork && !estimating;
  const busy = working || sweeping || taking;
  const stop = () =>
    save(model, {
      ...(working && { stop: current }),
      ...(sweeping && { sweep: {} }),
      ...(taking && { record: {} }),
    });
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
  /** Go to where an edit was recorded: by itself, and in the manner of the recording. */
  const play = (at: number, { strength }: Edit) =>
    change({
      ...manner,
      edits: edits.map((edit, i) =>
        i === at && strength !== undefined
          ? { ...edit, strength, on: true }
          : { ...edit, on: false },
      ),
    });
  const remove = (at: number) => {
    removed.current = at;
    setEdit(at, null);
  };
  const pick = (sae: string, feature: number) =>
    save(model, { pick: { id: next("pick"), sae, feature } });
  const drop = useDrop(saes, features, (feature) => {
    const same = (edit: Edit) =>
      edit.feature === feature.feature && sae(edit.sae)?.name === feature.sae;
    if (!edits.some(same)) change({ edits: [...edits, newEdit(feature, sae(feature.sae))] });
    pick(feature.sae, feature.feature);
  });
  const undo = useUndo(edits, (next) => change({ edits: next }));

  const press = (event: KeyboardEvent) => {
    const target = event.target as HTMLElement;
    if (event.key === "Escape" && busy) stop();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName)) return;
    if (event.key === "/") picker.current?.focus();
    else if (event.key === "z") undo.undo();
    else if (event.key === "Z") undo.redo();
    else return;
    event.preventDefault();
  };

  // The model's own run says more: it has a receipt, and what else moved.
  const own =
    !working &&
    made.id === current &&
    made.request?.prompt === prompt &&
    !differs(made.request, settings);
  const seeds = [...new Set(takes.map(({ seed }) => seed))];
  /** Of what was recorded, the nearest to the settings. */
  const manner = {
    prompt: recording.prompt ?? "",
    length: recording.length ?? 0,
    temperature: recording.temperature ?? 0,
    seed: seeds.includes(settings.seed) ? settings.seed : (seeds[0] ?? 0),
    control: "" as Control,
  };
  const fits = alike(manner, { ...settings, prompt });
  const id = Math.max(current, stream.id);
  const found = fits ? replayOf(recording.given ?? [], takes, { ...settings, prompt }, id) : null;
  const replay = own ? null : found;
  const written = replay?.run ?? made;
  const effects = replay?.effects ?? told;
  const writing = working && !replay;
  const state = replay ? "done" : status.state;
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
  const named = (edit: Edit) => brief(edit, find(edit)?.label);
  const settled = !writing && !(live && pending.any());
  const unsent = settled && draft !== (shown?.prompt ?? "");
  const stale = settled && !unsent && shown?.request != null && differs(shown.request, settings);
  const stopped = state === "stopped" || (written.ended === "stopped" && written.id === status.id);
  const outdated = shown?.old || unsent || stale;
  const notes = [
    stopped && (shown?.old ? "stopped before the first token" : stoppedAfter(shown?.arms)),
    unsent ? "of the prompt before" : stale && "of the settings before",
    alive && draft !== "" && (unsent ? "Enter runs the new one" : stale && "Run writes anew"),
  ];
  // While the texts are written, the old measurements stand until there are new ones.
  const { suggested } = told;
  const measured: Partial<Effects> = replay
    ? { ...effects, ...(suggested && { suggested }) }
    : working || effects.id === current
      ? effects
      : {};
  const isOf = ({ state, request }: Partial<Sweep>) =>
    state === "done" &&
    request !== undefined &&
    factorBetween(request.edits, edits) !== null &&
    !differs({ ...request, edits, control: settings.control }, settings) &&
    request.prompt === shown?.prompt;
  const swept = (!isOf(latest) && found?.sweep) || latest;
  const sweptAt = factorBetween(swept.request?.edits ?? [], edits);
  const comparable = isOf(swept);
  // What the edits do not touch is not written anew: while they change, this text and its strip stay.
  const base =
    !unsent &&
    written.arms &&
    written.ended !== "stopped" &&
    alike(written.request, { ...settings, prompt })
      ? written.arms[0]
      : undefined;
  const looking = peek ?? (writing ? null : pinned && besides(pinned, past, here));
  const looked = looking
    ? { ...armsOf(looking, pinned, named), proof: {} }
    : shown && comparable && seen !== null
      ? {
          prompt: shown.prompt,
          arms: armsAt(swept, seen).slice(0, shown.arms.length),
          proof: { mean: pointsOf(swept)[seen]?.kl ?? null },
        }
      : null;
  const proof = !outdated && !writing && effects.id === written.id ? effects : {};
  const goTo = ({ request: { prompt, ...settings } }: State) => {
    setPeek(null);
    pending.put(settings);
    run(prompt);
  };
  const keep = (name: string, edits?: readonly Edit[]) =>
    save(model, {
      preset: { id: next("preset"), name, ...(edits && { edits }) },
    });
  const drawers: [string, string, ComponentChild | null][] = [
    [
      "history",
      "What was written before, and under which settings",
      past.length > 0 && (
        <Tree
          history={past}
          here={here}
          named={named}
          pinned={pinned}
          onSee={setPeek}
          onPin={pin}
          onGo={goTo}
        />
      ),
    ],
    [
      "presets",
      "Edits that were kept under a name",
      <Presets
        key="presets"
        presets={presets}
        named={named}
        onTake={(edits) => change({ edits: [...edits] })}
        onKeep={(name) => keep(name, edits)}
        onForget={keep}
      />,
    ],
    ["about this", "", aboutThis(about, chosen, settings.seed)],
  ];
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
        <SettingBoxes
          value={settings}
          seeds={recorded ? seeds : []}
          onChange={(values) => change({ ...(recorded && manner), ...values })}
        />
        <span class="sae-buttons">
          <Button
            class="sae-quiet"
            aria-label="undo"
            title="Undo the last change of the edits (Z)"
            off={!undo.past}
            onClick={undo.undo}
          >
            ↶
          </Button>
          <Button
            class="sae-quiet"
            aria-label="redo"
            title="Redo (Shift+Z)"
            off={!undo.future}
            onClick={undo.redo}
          >
            ↷
          </Button>
          <Button off={!busy} title={why ?? "Stop writing (Escape)"} onClick={stop}>
            Stop
          </Button>
          <Button
            type="submit"
            class="sae-primary"
            off={!alive || draft === ""}
            title={why ?? "Write the texts (Enter in the prompt)"}
          >
            Run
          </Button>
        </span>
      </form>
      <Trouble status={status} more={takes.length > 0 ? PLAYS : ""} />
      <Locked>
        {edits.map((edit, i) => (
          <EditRow
            key={i}
            edit={edit}
            feature={find(edit)}
            sae={edit.vector ? undefined : sae(edit.sae)}
            selected={
              selected !== null && edit.feature === selected && sae(edit.sae)?.name === chosen
            }
            band={measured.suggested?.[i] ?? null}
            curves={comparable ? curvesOf(swept, swept.request?.edits[i]) : []}
            onSolo={() => change({ edits: solo(edits, i) })}
            ticks={fits || recorded ? ticksOf(takes, edit, manner.seed) : []}
            onChange={(next) => (recorded ? play(i, next) : setEdit(i, next))}
            onSelect={() => {
              const name = sae(edit.sae)?.name;
              if (edit.feature !== undefined && name) pick(name, edit.feature);
            }}
            onRemove={() => remove(i)}
          />
        ))}
        <Fader edits={edits} onChange={(next) => change({ edits: next })} />
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
            title="A third text: as strong a push at the same tokens, in another direction"
          >
            <span>compare with</span>
            <Select
              label="compare with"
              value={settings.control}
              options={CONTROLS.filter(([name]) => name !== "placebo" || placebos)}
              onChoose={(control) => change({ control })}
            />
          </label>
          <Button
            off={!alive || draft === "" || !edits.some(isOn)}
            title={why ?? "Write with the edits at many strengths at once, beside a control"}
            onClick={sweep}
          >
            sweep
          </Button>
          <RecordButton
            off={draft === "" || strong.length === 0 || confirmed || atWork}
            asking={asking}
            estimating={estimating}
            onPress={record}
            onCancel={() => save(model, { record: {} })}
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
      </Locked>
      {!moot && (
        <Aside
          of={recorder}
          doing={estimating ? "estimating …" : `recording ${recorder.text || "…"}`}
          failed={asks ? "to record" : takes.length > 0 ? "recorded in part" : "not recorded"}
        />
      )}
      {looked ? (
        <Panes {...looked} />
      ) : shown ? (
        <Panes
          prompt={shown.prompt}
          arms={shown.arms}
          base={base}
          before={shown.before}
          writing={writing}
          old={outdated || state === "error"}
          strip={measured}
          proof={proof}
        />
      ) : working ? (
        <p class="sae-empty">writing … {seconds(elapsed)}</p>
      ) : (
        <p class="sae-empty">
          Type the start of a text above and press Run, or try this one:{" "}
          <Button
            class="sae-example sae-mono"
            off={!alive}
            title={why ?? undefined}
            onClick={() => {
              run(EXAMPLE);
              frame.current?.querySelector("textarea")?.focus(); // this button goes away
            }}
          >
            {EXAMPLE}
          </Button>
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
              if ((recorded && swept === latest) || !comparable || !swept.request) return;
              setSeen(null);
              change({ edits: swept.request.edits.map((edit) => scaled(edit, factor)) });
            }}
          />
        </div>
      )}
      <Aside of={latest} doing="sweeping …" failed="no sweep" />
      <Also also={proof.also ?? []} onSelect={({ sae, feature }) => pick(sae, feature)} />
      <Foot
        run={outdated || writing || state !== "done" ? null : (written as Run)}
        recorded={replay !== null}
        effects={proof}
        edits={edits}
        trouble={effects.id === current ? effects.trouble : undefined}
        message={writing ? `writing … ${seconds(elapsed)}` : joined(notes, "; ")}
        drawers={drawers}
      />
      <Spoken
        text={
          writing
            ? elapsed > 1
              ? "writing"
              : ""
            : stopped
              ? "stopped"
              : spoken(state, shown?.arms)
        }
      />
    </div>
  );
}

/** What becomes of something beside the run. */
function Aside({
  of: { state = "done", text, detail, share },
  doing,
  failed,
}: {
  of: Partial<Recorder>;
  doing: string;
  failed: string;
}) {
  const { alive } = useHost();
  if (state === "done" || !(alive || state === "error")) return null;
  return (
    <p class="sae-soft sae-tiny sae-sweeping" role="status" title={detail || undefined}>
      {state === "working" ? doing : `${failed}: ${text}`}
      {state === "working" && <progress value={share} />}
    </p>
  );
}

function spoken(state: string, arms: readonly Arm[] | undefined): string {
  return state === "done" && arms?.[1] ? `steered: ${arms[1].tokens.join("")}` : "";
}

export default widget<SteeringTraits>("steering", "Steering", Steering);
