/** The traits of every widget, as Python's halves write them, and bytes as typed arrays. */

export interface Status {
  id: number;
  state: "idle" | "working" | "done" | "stopped" | "error";
  text: string;
  detail: string;
  seconds: number;
}

export interface Sae {
  name: string;
  title: string;
  /** Why this SAE is a placebo; null for a real one. */
  placebo: string | null;
  hook: string;
  width: number;
  /** Mean activation norm at the hook: what one `norm` counts. */
  norm?: number | null;
}

/** What a widget was made with; all of it missing where nobody said. */
export interface About {
  model?: object;
  /** By name. */
  saes?: Record<string, object>;
  versions?: object;
}

export interface FrameTraits {
  status: Status;
  about: About;
}

export interface PanelTraits extends FrameTraits {
  saes: Sae[];
  sae: string;
  selected: number | null;
  /** An SAE and its feature, chosen at once: a number alone means another feature in another SAE. */
  pick: { id: number; sae: string; feature: number } | Record<string, never>;
}

export interface FeatureRow {
  feature: number;
  label: string;
  peak: number | null;
  density: number | null;
  max: number;
  mean: number;
  share: number;
}

export interface View {
  id: number;
  text: string;
  sae: string;
  tokens: string[];
  special: number[];
  part: number[];
  note: string;
  model: string;
  hook: string;
  width: number;
  active: number;
  features: FeatureRow[];
  explained?: number[] | null;
}

export interface Card {
  feature: number;
  sae: string;
  label: string;
  peak: number | null;
  density: number | null;
  histogram?: number[] | null;
  likely: [string, number][];
  unlikely: [string, number][];
  /** Why there are no such tokens. */
  note?: string;
}

/** What is in `facts`, for each feature of the view of this id. */
export interface Cards {
  id: number;
  vocab: string[];
  /** How many counts, and how many tokens on each side, a card has. */
  bins: number;
  likely: number;
  unlikely: number;
  note: string;
}

export type Sort = "max" | "mean" | "share" | "index" | "token";
export type Scale = "peak" | "text";

export interface HeatmapRequest {
  id: number;
  text: string;
  sae: string;
}

/** What an edit does at each token of a text, counted from the first. */
export interface Painted {
  sae: string;
  feature: number;
  op: Operation;
  /** What the values of an `add` count; "" where they are shares of another operation. */
  unit: Unit | "";
  on: boolean;
  values: number[];
}

/** A whole row as the person has painted it. */
export type PaintedRow = Pick<Painted, "sae" | "feature" | "values">;

export interface HeatmapTraits extends PanelTraits {
  text: string;
  request: Partial<HeatmapRequest>;
  view: Partial<View>;
  row: DataView;
  column: DataView;
  value: DataView;
  token: number | null;
  sort: Sort;
  scale: Scale;
  /** Features that fire on a larger share of a corpus are hidden; 1 hides none. */
  dense: number;
  card: Partial<Card>;
  cards: Partial<Cards>;
  facts: DataView;
  steer: { id: number; feature: number; sae: string } | Record<string, never>;
  steerable: boolean;
  /** What the edits have painted; null where nothing can be painted. */
  painted: Painted[] | null;
  /** The id of the newest `paint` that the kernel has dealt with. */
  taken: number;
  /** The rows that it has not, as far as is known here. */
  paint: { id: number; rows: PaintedRow[] } | Record<string, never>;
}

export type Operation =
  | "add"
  | "set"
  | "target"
  | "floor"
  | "ceiling"
  | "scale"
  | "ablate"
  | "project"
  | "rotate"
  | "replace";
export type Unit = "peak" | "norm" | "raw";
export type Place = "all" | "prompt" | "generated" | "last";
/** Positions of the text from `start` up to, not including, `stop`; every `step`-th. */
export interface Span {
  start: number;
  stop: number | null;
  step: number;
}
export type Where = Place | Span;
/** How much of an edit is done at each token. */
export type Schedule =
  | { kind: "ramp"; over: number }
  | { kind: "decay"; half: number }
  | { kind: "pulse"; every: number; width: number }
  | { kind: "values"; values: number[] };
/** At which tokens an edit acts. */
export type Condition =
  | { fires: number; above: number; over: "token" | "prompt"; sae?: string | null }
  | { near: number[]; above: number; over: "token" | "prompt"; hook?: string | null }
  | { both: [Condition, Condition] }
  | { either: [Condition, Condition] }
  | { not: Condition };

export interface Edit {
  op: Operation;
  feature?: number;
  /** A direction of the person's own, in place of a feature. */
  vector?: number[];
  strength?: number;
  unit?: Unit;
  where?: Where;
  schedule?: Schedule;
  when?: Condition;
  sae?: string | null;
  on?: boolean;
}

export interface SteeringFeature {
  sae: string;
  feature: number;
  label: string;
  peak: number | null;
  density: number | null;
  /** How best to steer with it, × peak; null where nobody has found out. */
  push: Edit | null;
}

export interface RunRequest {
  id: number;
  prompt: string;
  length: number;
  temperature: number;
  seed: number;
  edits: Edit[];
  /** What the edits are compared with; "" is nothing. */
  control: Control;
}

/** Other directions that the edits' own are compared with. */
export type Control = "" | "random" | "flipped" | "neighbour" | "placebo";

export interface Arm {
  name: string;
  /** What stands in for the edits' own directions; "" or absent where nothing does. */
  control?: Control;
  tokens: string[];
  nll: number | null;
}

export interface Run {
  id: number;
  request: RunRequest;
  prompt: string[];
  arms: Arm[];
  fork: number | null;
  ended: string;
  calls: { prefill: number; steps: number };
  ratio: number | null;
  /** How many positions were changed: in all, or in the prompt and while writing. */
  positions: number | [number, number] | null;
  seconds: number;
  note: string;
}

/** What the edits do to the texts that are there; what has not been measured is absent. */
export interface Effects {
  /** Of the run that it was measured for. */
  id: number;
  /** The unsteered text, the first `given` tokens being the prompt. */
  tokens?: string[];
  given?: number;
  /** KL (nats) of what was predicted in the place of each of these tokens. */
  kl?: number[];
  /** The tokens that became more, and less, probable there, and by how much. */
  more?: Shift[][];
  less?: Shift[][];
  /** Between which strengths each edit shows and is borne; null where nothing is suggested. */
  suggested?: (Interval | null)[];
  /** The mean KL over the steered text. */
  mean?: number | null;
  /** In the place of each token of the steered text: the likeliest, most first. */
  next?: Guess[][];
  also?: Moved[];
  /** Two edits that point alike or against each other, by feature or row, and the cosine. */
  overlaps?: [one: string, two: string, cosine: number][];
  /** Why there are no measurements. */
  trouble?: string;
  receipt?: string;
  /** The run as Python. */
  code?: string;
}
export type Shift = [token: string, by: number];
export type Interval = [from: number, to: number];
/** A token, how probable it is under the edits, and by how much they changed that. */
export type Guess = [token: string, p: number, by: number];

/** A feature that nobody edited, in the mean over the steered text. */
export interface Moved {
  sae: string;
  feature: number;
  label: string;
  before: number;
  after: number;
}

/** The edits at one of many strengths. */
export interface SweepArm extends Omit<Arm, "name"> {
  /** × the strengths that the edits have in the request. */
  factor: number;
  /** How much of the feature is in the text, as the unsteered model reads it. */
  concept: number | null;
  /** KL along the text, nats a token. */
  kl: number | null;
  /** How much less likely the unsteered model finds it than its own text, nats a token. */
  surprise: number | null;
  /** Share of pairs of tokens that come once. */
  distinct: number | null;
}

/** A sweep: first no edit at all, then every strength, then a control at every strength. */
export interface Sweep {
  id: number;
  state: "working" | "stopped" | "error" | "done";
  /** What went wrong, and the rest of it. */
  text?: string;
  detail?: string;
  request?: RunRequest;
  arms?: SweepArm[];
  /** The largest factor whose KL keeps to the budget. */
  safe?: number;
  budget?: number;
  /** What `concept` counts in. */
  unit?: "peak" | "raw";
}

/** Edits, one at a time, at some strengths and with some seeds; `SteeringTraits.numbers` has what they wrote. */
export interface Recorded {
  prompt: string;
  /** The tokens of the prompt. */
  given: string[];
  length: number;
  temperature: number;
  takes: { edit: Edit; seed: number; peaks: boolean; strengths: number[] }[];
  /** The tokens that were written. */
  vocab: string[];
}

/** How far a recording is; it "asks" before it begins. */
export interface Recorder {
  id: number;
  state: Sweep["state"] | "asks";
  /** How much it is, or what went wrong. */
  text: string;
  detail?: string;
  /** What is done of it. */
  share: number;
}

/** What is to be recorded: each edit by itself, at strengths that the kernel chooses. */
export interface RecordRequest {
  id: number;
  prompt: string;
  length: number;
  temperature: number;
  seeds: number[];
  edits: Edit[];
  /** It was said how much it is. */
  sure: boolean;
}

/** What the panel has written under some settings. */
export interface State {
  id: number;
  /** The state that it was made from; 0 for none. */
  parent: number;
  request: Omit<RunRequest, "id">;
  arms: Arm[];
}

export interface TokensMessage {
  kind: "tokens";
  id: number;
  /** All that each arm has written so far. */
  arms: string[][];
}

export interface SteeringTraits extends PanelTraits {
  prompt: string;
  length: number;
  temperature: number;
  seed: number;
  edits: Edit[];
  control: Control;
  request: Partial<RunRequest>;
  stop: number;
  features: SteeringFeature[];
  live: boolean;
  run: Partial<Run>;
  effects: Partial<Effects>;
  sweep: Partial<RunRequest>;
  swept: Partial<Sweep>;
  recorded: Partial<Recorded>;
  numbers: DataView;
  recorder: Partial<Recorder>;
  record: Partial<RecordRequest>;
  presets: Record<string, Edit[]>;
  /** Keep these edits under this name; without edits, forget it. */
  preset: { id: number; name: string; edits?: readonly Edit[] } | Record<string, never>;
  history: State[];
  /** Of the states, the newest; 0 for none. */
  here: number;
}

/** What is known of a training run, and fixed. */
export interface TrainingRun {
  steps: number;
  batch: number;
  /** Where checkpoints are kept; null: nowhere. */
  folder: string | null;
  saes: Trained[];
  /** What the person should know of it, such as features that died. */
  notes?: string[];
}

/** An SAE of the run. */
export interface Trained {
  name: string;
  hook: string;
  /** How many features; null until it is known. */
  d_sae: number | null;
  /** How many of them are to fire on a vector, where the objective says so. */
  target: number | null;
}

export interface TrainingAt {
  state: "starting" | "training" | "paused" | "finishing" | "done" | "stopped" | "failed";
  step: number;
  /** Seconds of training so far, and those that are left. */
  seconds: number;
  left: number | null;
  /** The step of the newest checkpoint. */
  saved: number | null;
  /** How many of the checkpoints that were asked for are dealt with. */
  saves: number;
}

export interface TrainingTraits extends FrameTraits {
  run: TrainingRun;
  at: TrainingAt;
  figures: DataView;
  densities: DataView;
  /** The name of the SAE whose figures stand in words. */
  sae: string;
  paused: boolean;
  ended: boolean;
  saves: number;
}

/** The figures of a line of the log, in their order on the wire. */
export const FIGURES = ["step", "loss", "fvu", "l0", "dead", "learning_rate", "grad_norm"] as const;
export type Figure = (typeof FIGURES)[number];
/** Features that never fire, and those of each half power of ten from 10⁻⁶ to 1. */
export const BINS = 13;

/** What one line of the log of a training says of one SAE. */
export type Line = Record<Figure, number> & { densities: number[] };

/** The lines of the log of each of `saes` SAEs, from two byte traits. */
export function decodeLines(figures: DataView, densities: DataView, saes: number): Line[][] {
  const count = Math.min(
    Math.floor(figures.byteLength / (4 * FIGURES.length * saes)),
    Math.floor(densities.byteLength / (4 * BINS * saes)),
  );
  const read = (line: number): Line => {
    const named = FIGURES.map((name, i) => [
      name,
      figures.getFloat32(4 * (line * FIGURES.length + i), true),
    ]);
    const bins = Array.from({ length: BINS }, (_, bin) =>
      densities.getUint32(4 * (line * BINS + bin), true),
    );
    return { ...(Object.fromEntries(named) as Record<Figure, number>), densities: bins };
  };
  return Array.from({ length: saes }, (_, sae) =>
    Array.from({ length: count }, (_, line) => read(line * saes + sae)),
  );
}

/** The non-zero cells of a heatmap, row after row: row `r` is `start[r] … start[r + 1]`. */
export interface Cells {
  start: Uint32Array;
  column: Uint32Array;
  value: Float32Array;
}

/**
 * Cells from three byte traits. A `DataView` may begin anywhere in a larger buffer, at an odd
 * byte too, so the numbers are read through it and not by laying a typed array over the buffer.
 */
export function decodeCells(row: DataView, column: DataView, value: DataView, rows: number): Cells {
  const count = Math.min(row.byteLength >> 1, column.byteLength >> 2, value.byteLength >> 1);
  const start = new Uint32Array(rows + 1);
  const rowOf = new Uint16Array(count);
  for (let i = 0; i < count; i++) {
    const r = row.getUint16(2 * i, true);
    rowOf[i] = r;
    if (r < rows) start[r + 1] = (start[r + 1] ?? 0) + 1;
  }
  for (let r = 0; r < rows; r++) start[r + 1] = (start[r + 1] ?? 0) + (start[r] ?? 0);

  const kept = start[rows] ?? 0;
  const order = Array.from({ length: count }, (_, i) => i).filter((i) => (rowOf[i] ?? 0) < rows);
  order.sort(
    (a, b) =>
      (rowOf[a] ?? 0) - (rowOf[b] ?? 0) ||
      column.getUint32(4 * a, true) - column.getUint32(4 * b, true),
  );
  const cells = { start, column: new Uint32Array(kept), value: new Float32Array(kept) };
  order.forEach((from, to) => {
    cells.column[to] = column.getUint32(4 * from, true);
    cells.value[to] = half(value.getUint16(2 * from, true));
  });
  return cells;
}

/** The card of the view's feature in `row`; null where it is not there. */
export function cardOf(
  view: Pick<View, "id" | "sae" | "features">,
  row: number,
  { id, vocab, bins = 0, likely = 0, unlikely = 0, note = "" }: Partial<Cards>,
  facts: DataView,
): Card | null {
  const about = view.features[row];
  let at = row * (2 * bins + 4 * (likely + unlikely));
  if (!about || id !== view.id) return null;
  const list = <T>(length: number, read: (bits: number) => T) =>
    Array.from({ length }, () => {
      at += 2;
      return read(facts.getUint16(at - 2, true));
    });
  const side = (length: number): [string, number][] => {
    const tokens = list(length, (place) => String(vocab?.[place] ?? ""));
    return list(length, half).map((score, i) => [tokens[i] ?? "", score]);
  };
  try {
    const histogram = list(bins, half);
    return {
      ...about,
      sae: view.sae,
      histogram: bins ? histogram : null,
      likely: side(likely),
      unlikely: side(unlikely),
      note: String(note),
    };
  } catch {
    return null; // a shared file may hold anything: outside of its bytes, a view throws
  }
}

/** The value of row `r` at `column`; 0 where the feature does not fire. */
export function valueAt(cells: Cells, r: number, column: number): number {
  const end = cells.start[r + 1] ?? 0;
  const i = firstFrom(cells, r, column);
  return i < end && cells.column[i] === column ? (cells.value[i] ?? 0) : 0;
}

/** Index of the first cell of row `r` at `column` or to the right of it. */
export function firstFrom(cells: Cells, r: number, column: number): number {
  let low = cells.start[r] ?? 0;
  let high = cells.start[r + 1] ?? 0;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((cells.column[middle] ?? 0) < column) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** A float16 from its bits. `Float16Array` is too young to rely on. */
export function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 0x1f) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}
