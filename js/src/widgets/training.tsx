/** The training widget: the figures of a run while it goes on, and a hand on it. */

import type { AnyModel } from "@anywidget/types";
import { useMemo, useState } from "preact/hooks";
import { type Axis, linear, logarithmic } from "../axis";
import { Curve, Densities, hue } from "../draw/chart";
import { aboutThis, Ending } from "../parts/about";
import { Spoken, Trouble, useHost, widget } from "../parts/frame";
import { save, useElapsed, useTrait } from "../parts/host";
import { count, joined, percent, seconds } from "../text";
import {
  BINS,
  decodeLines,
  type Figure,
  type Line,
  type TrainingAt,
  type TrainingRun,
  type TrainingTraits,
} from "../wire";
import "./training.css";

type Model = AnyModel<TrainingTraits>;

interface Drawn {
  figure: Figure;
  title: string;
  about: string;
  axis: (values: readonly number[]) => Axis;
  format: (value: number) => string;
}

/** The charts before and after that of the densities, in their order. */
const FIRST: readonly Drawn[] = [
  {
    figure: "loss",
    title: "loss",
    about: "What is trained for",
    axis: logarithmic,
    format: fine,
  },
  {
    figure: "fvu",
    title: "FVU",
    about: "Fraction of variance unexplained: the squared error as a share of the variance",
    axis: logarithmic,
    format: fine,
  },
  {
    figure: "l0",
    title: "L0",
    about: "How many features fire on a vector, on average",
    axis: linear,
    format: fine,
  },
  {
    figure: "dead",
    title: "dead",
    about: "Share of features that have not fired for long",
    axis: linear,
    format: percent,
  },
];
const LAST: readonly Drawn[] = [
  {
    figure: "learning_rate",
    title: "learning rate",
    about: "How large the steps are: it rises at first, and falls to nothing at the end",
    axis: linear,
    format: fine,
  },
  {
    figure: "grad_norm",
    title: "gradient",
    about: "Norm of the gradient, before it is clipped",
    axis: logarithmic,
    format: fine,
  },
];
/** Seconds that a button may wait for the kernel before it is said why. */
const PATIENCE = 3;
const EMPTY = new DataView(new ArrayBuffer(0));

function Training({ model }: { model: Model }) {
  const run = useTrait(model, "run");
  const at = useTrait(model, "at");
  const status = useTrait(model, "status");
  const figures = useTrait(model, "figures");
  const densities = useTrait(model, "densities");
  const { alive, recorded } = useHost();
  const sae = useTrait(model, "sae");
  const saes = run.saes.length;
  const lines = useMemo(
    () => decodeLines(figures ?? EMPTY, densities ?? EMPTY, saes),
    [figures, densities, saes],
  );
  const chosen = Math.max(
    0,
    run.saes.findIndex(({ name }) => name === sae),
  );
  return (
    <>
      <Bar model={model} run={run} at={at} />
      <Trouble status={status} />
      {run.notes?.map((note) => (
        <div key={note} class="sae-note" role="status">
          {note}
        </div>
      ))}
      {!alive && !recorded && running(at) && <p class="sae-note">{afterwards(run, at)}</p>}
      {saes > 1 && (
        <Legend run={run} chosen={chosen} onChoose={(name) => save(model, { sae: name })} />
      )}
      {lines[0]?.length ? (
        <Charts lines={lines} run={run} chosen={chosen} />
      ) : (
        <p class="sae-empty">
          {running(at)
            ? "The model reads the first texts; figures come as soon as there are any."
            : "There are no figures: the training did not get that far."}
        </p>
      )}
      <Foot model={model} run={run} chosen={chosen} />
    </>
  );
}

interface LegendProps {
  run: TrainingRun;
  chosen: number;
  onChoose: (name: string) => void;
}

/** The SAEs and their colours; the one that is chosen is drawn in front and read. */
function Legend({ run, chosen, onChoose }: LegendProps) {
  return (
    <div class="sae-saes" role="group" aria-label="SAE whose figures are read">
      {run.saes.map(({ name, hook }, sae) => (
        <button
          key={name}
          type="button"
          aria-pressed={sae === chosen}
          title={`At ${hook}. Draw it in front, and read its figures`}
          onClick={() => onChoose(name)}
        >
          <i {...hue(sae, run.saes.length)} />
          <span class="sae-cut">{name}</span>
        </button>
      ))}
    </div>
  );
}

function Bar({ model, run, at }: { model: Model; run: TrainingRun; at: TrainingAt }) {
  const { alive, recorded, why } = useHost();
  const paused = useTrait(model, "paused");
  const ended = useTrait(model, "ended");
  const saves = useTrait(model, "saves");
  const working = alive && (at.state === "starting" || at.state === "training");
  const silent = useElapsed(useMemo(() => (working ? performance.now() : null), [working, at]));
  const asked = saves > at.saves;
  const unheard =
    at.state === "training" && alive && (paused || ended || asked)
      ? `${saves}${paused}${ended}`
      : "";
  const waited = useElapsed(useMemo(() => (unheard ? performance.now() : null), [unheard]));
  const open = running(at) && at.state !== "finishing";
  const off = !alive || ended;
  const unsaved = run.folder === null ? "No folder was given to keep checkpoints in" : null;
  return (
    <div class="sae-bar">
      <div class="sae-told">
        <div class="sae-between">
          <b class="sae-cut">
            {run.saes.length > 1
              ? `${run.saes.length} SAEs from the same tokens`
              : run.saes[0]?.name}
          </b>
          <span class="sae-number">
            {silent > PATIENCE && !paused && !ended
              ? `step ${at.step} of ${run.steps}: the model reads texts … ${seconds(silent)}`
              : recorded && running(at)
                ? `recorded at step ${at.step} of ${run.steps}, while it ran`
                : told(run, at, paused, ended)}
          </span>
        </div>
        <div
          class="sae-progress"
          role="progressbar"
          aria-label="steps made"
          aria-valuemin={0}
          aria-valuemax={run.steps}
          aria-valuenow={at.step}
        >
          <i style={{ width: `${(100 * at.step) / run.steps}%` }} />
        </div>
      </div>
      {open && (
        <>
          <button
            type="button"
            class="sae-primary"
            aria-disabled={off}
            title={
              why ??
              (paused
                ? "Go on with the next step"
                : "Wait after the step that is being made; nothing is lost")
            }
            onClick={() => !off && save(model, { paused: !paused })}
          >
            {paused ? "Go on" : "Pause"}
          </button>
          <button
            type="button"
            aria-disabled={off || unsaved !== null}
            title={why ?? unsaved ?? `Keep a checkpoint in ${run.folder} after this step`}
            onClick={() => !off && !unsaved && save(model, { saves: saves + 1 })}
          >
            {asked ? "Saving …" : "Save now"}
          </button>
          <button
            type="button"
            aria-disabled={off}
            title={
              why ??
              (unsaved === null
                ? "End with the SAE so far; a checkpoint is kept to go on from"
                : "End with the SAE so far; nothing is kept to go on from")
            }
            onClick={() => !off && save(model, { ended: true })}
          >
            Stop
          </button>
        </>
      )}
      {waited > PATIENCE && (
        <span class="sae-soft sae-tiny">
          The kernel is busy with a cell and hears of it afterwards. If the cell only waits for the
          result, interrupt it: the training goes on.
        </span>
      )}
      <Spoken text={at.state === "training" ? "" : told(run, at, paused, ended)} />
    </div>
  );
}

const running = ({ state }: TrainingAt): boolean =>
  state === "starting" || state === "training" || state === "paused" || state === "finishing";

/** Where the training is, in words. */
function told(run: TrainingRun, at: TrainingAt, paused: boolean, ended: boolean): string {
  const { state, step, left, saved } = at;
  const where = `step ${step} of ${run.steps}`;
  const kept = saved === null ? "" : ` · checkpoint ${saved}`;
  if (state === "done") return `done: ${count(step, "step")} in ${seconds(at.seconds)}${kept}`;
  if (state === "failed") return `ended at ${where}${kept}`;
  if (state === "stopped") return `stopped at ${where}${kept}`;
  if (state === "finishing") return `${where}: measuring what came out …`;
  if (state === "paused") return `paused at ${where}${kept}`;
  if (ended) return `stopping at ${where} …`;
  if (paused) return `pausing at ${where} …`;
  const rest = left === null ? "" : ` · ${seconds(left)} left`;
  return `${where}${rest}${kept}`;
}

/** What a kernel that was restarted has left of a training. */
function afterwards({ folder }: TrainingRun, { saved }: TrainingAt): string {
  const lost = "If the kernel was restarted, the training ended with it";
  if (folder === null) return `${lost}, and no folder was given to keep anything in.`;
  const from = saved === null ? "no checkpoint was kept yet" : `goes on from step ${saved}`;
  return saved === null
    ? `${lost}; ${from} in ${folder}.`
    : `${lost}; with existing="resume", this cell ${from}.`;
}

interface ChartsProps {
  /** Of each SAE. */
  lines: readonly Line[][];
  run: TrainingRun;
  chosen: number;
}

function Charts({ lines: every, run, chosen }: ChartsProps) {
  const [pointed, setSeen] = useState<number | null>(null);
  const lines = every[chosen] ?? [];
  const whose = every.length > 1 ? (run.saes[chosen]?.name ?? "") : "";
  const last = lines.length - 1;
  const seen = pointed !== null && pointed < last ? pointed : null;
  const line = lines[seen ?? last];
  const steps = lines.map(({ step }) => step);
  const curve = ({ figure, title, about, axis, format }: Drawn) => {
    const drawn = every.map((lines, sae) => ({
      values: lines.map((line) => line[figure]),
      target: (figure === "l0" && run.saes[sae]?.target) || null,
    }));
    const values = drawn.flatMap(({ values, target }) => [...values, ...(target ? [target] : [])]);
    return (
      <Curve
        key={figure}
        title={title}
        about={about}
        steps={steps}
        of={run.steps}
        whose={whose}
        every={drawn}
        chosen={chosen}
        axis={axis(values)}
        format={format}
        seen={seen}
        onSee={setSeen}
      />
    );
  };
  return (
    <>
      <div class="sae-charts">
        {FIRST.map(curve)}
        <Densities
          counts={line?.densities ?? Array(BINS).fill(0)}
          step={line?.step ?? 0}
          whose={whose}
        />
        {LAST.map(curve)}
      </div>
      <label class="sae-scrub" title="Read all charts at one step; pointing at a curve does so too">
        <span>read at</span>
        <input
          type="range"
          min={0}
          max={last}
          value={seen ?? last}
          aria-valuetext={joined([whose, spoken(line)], ", ")}
          onInput={(event) => setSeen(Number(event.currentTarget.value))}
          onKeyDown={(event) => {
            if (event.key !== "Escape" || seen === null) return;
            event.stopPropagation();
            setSeen(null);
          }}
        />
        <span class="sae-number">
          step {line?.step ?? 0}
          {seen === null && ", the newest"}
        </span>
      </label>
    </>
  );
}

function spoken(line: Line | undefined): string {
  if (!line) return "none";
  const figures = [...FIRST, ...LAST].map(
    ({ figure, title, format }) => `${title} ${format(line[figure])}`,
  );
  return `step ${line.step}: ${figures.join(", ")}`;
}

function Foot({ model, run, chosen }: { model: Model; run: TrainingRun; chosen: number }) {
  const { name = "", hook = "", d_sae = null } = run.saes[chosen] ?? {};
  const width = d_sae === null ? "" : count(d_sae, "feature");
  return (
    <Ending
      class="sae-foot"
      facts={[hook, width, `${count(run.batch, "vector")} a step`]}
      about={aboutThis(useTrait(model, "about"), name)}
    />
  );
}

/** A figure with three significant digits, small ones as powers of ten. */
function fine(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (value === 0 || size >= 0.01) return String(Number(value.toPrecision(3)));
  return value.toExponential(1).replace(".0e", "e").replace("e-", "e−");
}

export default widget<TrainingTraits>("training", "SAE training", Training);
