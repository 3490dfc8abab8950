// @vitest-environment happy-dom
import type { RenderProps } from "@anywidget/types";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import heatmap from "../src/widgets/heatmap";
import steering from "../src/widgets/steering";
import type {
  Control,
  Edit,
  Effects,
  FeatureRow,
  HeatmapTraits,
  Recorder,
  Run,
  RunRequest,
  SteeringTraits,
  Sweep,
  SweepArm,
  View,
} from "../src/wire";
import { FakeModel } from "./model";

const EMPTY = new DataView(new ArrayBuffer(0));
const SHARED = {
  status: { id: 0, state: "idle", text: "", detail: "", seconds: 0 } as const,
  saes: [
    { name: "topk", title: "TopK 256", placebo: null, hook: "h", width: 256 },
    { name: "frozen", title: "Frozen 256", placebo: "never trained", hook: "h", width: 256 },
  ],
  sae: "topk",
  selected: null,
  pick: {},
  about: {},
};
const HEATMAP = {
  ...SHARED,
  text: "",
  request: {},
  view: {},
  row: EMPTY,
  column: EMPTY,
  value: EMPTY,
  token: null,
  sort: "max",
  scale: "peak",
  dense: 1,
  card: {},
  cards: {},
  facts: EMPTY,
  steer: {},
  steerable: true,
  painted: [],
  taken: 0,
  paint: {},
} satisfies HeatmapTraits;
const SEA: Edit = {
  op: "add",
  feature: 131,
  strength: 0.48,
  unit: "peak",
  where: "generated",
  schedule: { kind: "decay", half: 6 },
  sae: "topk",
  on: true,
};
const STEERING = {
  ...SHARED,
  prompt: "",
  length: 40,
  temperature: 0,
  seed: 0,
  edits: [],
  request: {},
  stop: 0,
  features: [
    { sae: "topk", feature: 131, label: "sea", peak: 6, density: 0.02, push: SEA },
    { sae: "frozen", feature: 131, label: "", peak: 5, density: 0.02, push: null },
  ],
  live: true,
  effects: {},
  sweep: {},
  swept: {},
  control: "",
  run: {},
  presets: {},
  preset: {},
  history: [],
  here: 0,
  recorded: {},
  numbers: EMPTY,
  recorder: {},
  record: {},
} satisfies SteeringTraits;

let el: HTMLElement;
let close: (() => void) | undefined;

beforeEach(() => {
  vi.useFakeTimers();
  el = document.body.appendChild(document.createElement("div"));
});
afterEach(() => {
  close?.();
  el.remove();
  vi.useRealTimers();
});

type Renders<T extends Record<string, unknown>> = { render: (props: RenderProps<T>) => () => void };

async function show<T extends Record<string, unknown>>(widget: Renders<T>, state: T) {
  const model = new FakeModel<T>(state);
  close = widget.render({ model: model.model, el } as unknown as RenderProps<T>);
  await settle();
  return model;
}

/** Let Preact draw and its effects run. */
async function settle() {
  await vi.advanceTimersByTimeAsync(60);
}

const showHeatmap = (state: Partial<HeatmapTraits> = {}) =>
  show(
    heatmap as Renders<HeatmapTraits & Record<string, unknown>>,
    {
      ...HEATMAP,
      ...state,
    } as HeatmapTraits & Record<string, unknown>,
  );
const showSteering = (state: Partial<SteeringTraits> = {}) =>
  show(
    steering as Renders<SteeringTraits & Record<string, unknown>>,
    {
      ...STEERING,
      ...state,
    } as SteeringTraits & Record<string, unknown>,
  );

function find<E extends Element = HTMLElement>(selector: string): E {
  const found = el.querySelector<E>(selector);
  if (!found) throw new Error(`nothing matches ${selector}`);
  return found;
}

function type(selector: string, text: string) {
  const input = find<HTMLInputElement>(selector);
  input.value = text;
  input.dispatchEvent(new Event("input", { bubbles: true }));
}

test("closing a heatmap leaves no listener and no node behind", async () => {
  const model = await showHeatmap();
  expect(model.listeners).toBeGreaterThan(0);
  close?.();
  await settle();
  expect(model.listeners).toBe(0);
  expect(el.childNodes.length).toBe(0);
});

test("closing a steering panel leaves no listener and no node behind", async () => {
  const model = await showSteering({ prompt: "So" });
  close?.();
  await settle();
  expect(model.listeners).toBe(0);
  expect(el.childNodes.length).toBe(0);
});

test("an empty heatmap offers an example, and reads it when it is clicked", async () => {
  const model = await showHeatmap();
  const example = find<HTMLButtonElement>(".sae-example");
  example.click();
  await settle();
  expect(model.saved.at(-1)?.request).toEqual({ id: 1, text: example.textContent, sae: "topk" });
});

test("a text is read by itself after a pause, and once", async () => {
  const model = await showHeatmap();
  type(".sae-text", "Ah");
  await vi.advanceTimersByTimeAsync(300);
  type(".sae-text", "Ahoy");
  expect(model.saved).toEqual([]);
  await vi.advanceTimersByTimeAsync(800);
  expect(model.saved.map((saved) => saved.request?.text)).toEqual(["Ahoy"]);
});

test("what is typed while a text is being read stays, and a text set by Python replaces it", async () => {
  const model = await showHeatmap();
  type(".sae-text", "Ahoy");
  await vi.advanceTimersByTimeAsync(699);
  await vi.advanceTimersByTimeAsync(1); // it is sent, and before the page is drawn again:
  type(".sae-text", "Ahoy, Mira");
  await settle();
  expect(model.saved.at(-1)?.text).toBe("Ahoy");
  expect(find<HTMLTextAreaElement>(".sae-text").value).toBe("Ahoy, Mira");
  model.set("text", "from Python");
  await settle();
  expect(find<HTMLTextAreaElement>(".sae-text").value).toBe("from Python");
});

test("a kernel that is silent for two seconds is said to be, and comes back by itself", async () => {
  const model = await showHeatmap();
  model.silent = true;
  await vi.advanceTimersByTimeAsync(2100);
  expect(el.textContent).toContain("No answer from the kernel");
  expect(find(".sae-primary").getAttribute("aria-disabled")).toBe("true");
  model.fire("msg:custom", { kind: "pong", id: 3 });
  await settle();
  expect(el.textContent).not.toContain("No answer");
  expect(find(".sae-primary").getAttribute("aria-disabled")).toBe("false");
});

test("a kernel that is busy from the start is not called a recording", async () => {
  el.className = "jupyter-widgets-view"; // ipywidgets adds `-disconnected` where there is none
  const model = new FakeModel({ ...HEATMAP, text: "So" });
  model.silent = true;
  close = heatmap.render({ model: model.model, el } as unknown as Parameters<
    typeof heatmap.render
  >[0]);
  await vi.advanceTimersByTimeAsync(2100);
  expect(find("[role=alert]").textContent).toContain("No answer from the kernel");
  expect(find<HTMLTextAreaElement>(".sae-text").readOnly).toBe(false);
});

test("a saved view without a kernel says that it is recorded, quietly, and writes nothing", async () => {
  close?.();
  el.className = "jupyter-widgets-disconnected";
  const model = new FakeModel({
    ...STEERING,
    prompt: "So",
    edits: [EDIT],
    run: run(1, [[" a"], [" b"]]),
    status: { ...SHARED.status, id: 2, state: "working" },
  });
  model.silent = true;
  close = steering.render({ model: model.model, el } as unknown as Parameters<
    typeof steering.render
  >[0]);
  await settle();
  expect(find(".sae-foot").textContent).not.toContain("writing");
  await vi.advanceTimersByTimeAsync(2100);
  expect(find(".sae-note").textContent).toContain("Recorded");
  expect(el.querySelector("[role=alert]")).toBeNull();
  expect(find(".sae-foot").textContent).not.toContain("writing");
  // What cannot work is disabled, with the reason, and the recording stays as it is.
  expect(find<HTMLTextAreaElement>(".sae-text").readOnly).toBe(true);
  expect(find(".sae-op").closest("fieldset")?.disabled).toBe(true);
  expect(find(".sae-op").closest("fieldset")?.title).toContain("no kernel");
  find(".sae-slider").dispatchEvent(
    new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }),
  );
  await settle();
  find(".sae-slider").dispatchEvent(new KeyboardEvent("keydown", { key: "Delete", bubbles: true }));
  await settle();
  expect(model.get("edits")).toEqual([EDIT]);
  expect(find(".sae-thumb")).not.toBeNull();
});

test("nobody is asked for a pulse after ten minutes without a sign of a person", async () => {
  const model = await showHeatmap();
  await vi.advanceTimersByTimeAsync(11 * 60_000);
  const asked = model.sent.length;
  await vi.advanceTimersByTimeAsync(60_000);
  expect(model.sent.length).toBe(asked);
  window.dispatchEvent(new Event("pointermove"));
  expect(model.sent.length).toBe(asked + 1);
});

test("an error is one sentence in place, with the rest in a drawer", async () => {
  await showHeatmap({
    status: { id: 1, state: "error", text: "it broke", detail: "Traceback", seconds: 0 },
  });
  expect(find(".sae-trouble span").textContent).toBe("it broke");
  expect(find("details pre").textContent).toBe("Traceback");
});

const viewOf = (row: FeatureRow): View => ({
  id: 1,
  text: "So",
  sae: "topk",
  tokens: ["So"],
  special: [],
  part: [],
  note: "",
  model: "",
  hook: "h",
  width: 9,
  active: 1,
  features: [row],
});

const EDIT = { op: "add", feature: 131, strength: 0.5, unit: "peak", sae: "topk" } as const;

test("an arrow nudges a strength by a hundredth, with Shift by a tenth, and runs it live", async () => {
  const model = await showSteering({ prompt: "So", edits: [EDIT] });
  const press = (key: string, shiftKey = false) =>
    find(".sae-slider").dispatchEvent(
      new KeyboardEvent("keydown", { key, shiftKey, bubbles: true }),
    );
  press("ArrowRight");
  await settle();
  expect(model.saved.at(-1)?.request?.edits?.[0]?.strength).toBe(0.51);
  await vi.advanceTimersByTimeAsync(100);
  press("ArrowLeft", true);
  await settle();
  expect(model.get("edits")[0]?.strength).toBe(0.41);
  press("r");
  await settle();
  expect(model.get("edits")[0]?.strength).toBe(0.48);
});

test("without live, a change waits for Run", async () => {
  const model = await showSteering({ prompt: "So", edits: [EDIT], live: false });
  find(".sae-slider").dispatchEvent(
    new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }),
  );
  await settle();
  expect(model.saved.at(-1)).toEqual({ edits: [{ ...EDIT, strength: 0.51 }] });
  find("form").dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
  await settle();
  expect(model.saved.at(-1)?.request).toMatchObject({ prompt: "So", edits: [{ strength: 0.51 }] });
});

test("a control is chosen from those there are, asked for at once, and told apart", async () => {
  const model = await showSteering({ prompt: "So", edits: [EDIT] });
  const choice = find<HTMLSelectElement>(".sae-adding select");
  expect([...choice.options].map((option) => option.value)).toEqual([
    "",
    "random",
    "flipped",
    "neighbour",
    "placebo",
  ]);
  choice.value = "random";
  choice.dispatchEvent(new Event("change", { bubbles: true }));
  await settle();
  expect(model.saved.at(-1)?.request).toMatchObject({ prompt: "So", control: "random" });
  const { id = 0 } = model.get("request");
  model.fire("msg:custom", { kind: "tokens", id, arms: [[" a"], [" b"], [" c"]] });
  await settle();
  const heads = [...el.querySelectorAll(".sae-pane span:first-child")].map((s) => s.textContent);
  expect(heads).toEqual(expect.arrayContaining(["unsteered", "steered", "control: random"]));
});

test("a placebo is no control where there is none", async () => {
  const saes = SHARED.saes.filter((each) => !each.placebo);
  await showSteering({ prompt: "So", edits: [EDIT], saes });
  const choice = find<HTMLSelectElement>(".sae-adding select");
  expect([...choice.options].map((option) => option.value)).not.toContain("placebo");
});

test("an edit of a placebo is badged as one, with the reason", async () => {
  await showSteering({ edits: [{ ...EDIT, sae: "frozen" }] });
  expect(find(".sae-badge").textContent).toBe("placebo");
  expect(find(".sae-badge").title).toContain("never trained");
});

const run = (id: number, tokens: string[][]): Run => ({
  id,
  request: { id, prompt: "So", length: 40, temperature: 0, seed: 0, edits: [], control: "" },
  prompt: ["So"],
  arms: tokens.map((each, i) => ({ name: i ? "steered" : "base", tokens: each, nll: 1 })),
  fork: null,
  ended: "length",
  calls: { prefill: 1, steps: 2 },
  ratio: 0.3,
  positions: [1, 2],
  seconds: 0.1,
  note: "",
});

test("tokens stream over the old text, and those of a run that was replaced are dropped", async () => {
  const first = run(1, [
    [" a", " b", " c"],
    [" a", " x", " y"],
  ]);
  const model = await showSteering({
    prompt: "So",
    run: first,
    status: { ...SHARED.status, id: 1, state: "done" },
  });
  const panes = () => [...el.querySelectorAll(".sae-pane p")].map((p) => p.textContent);
  expect(panes()).toEqual(["So a b c", "So a x y"]);

  model.set("status", { ...SHARED.status, id: 2, state: "working" });
  await settle();
  // What the edits do not touch is as good as ever.
  const old = () => [...el.querySelectorAll(".sae-pane.sae-old p")].map((p) => p.textContent);
  expect(old()).toEqual(["So a x y"]);

  const message = { kind: "tokens", id: 2, arms: [[" d"], [" e"]] };
  model.fire("msg:custom", message);
  model.fire("msg:custom", { ...message, id: 1, arms: [[" no"], [" no"]] });
  await settle();
  expect(old()).toEqual([]);
  expect(panes()).toEqual(["So d b c", "So e x y"]); // the old tails stand, greyed
  expect([...el.querySelectorAll(".sae-tail")].map((p) => p.textContent)).toEqual([" b c", " x y"]);

  model.set("run", run(2, [[" d"], [" e"]]));
  model.set("status", { ...SHARED.status, id: 2, state: "done" });
  await settle();
  expect(panes()).toEqual(["So d", "So e"]);
  expect(el.querySelectorAll(".sae-fork").length).toBe(2);
  expect(find(".sae-foot").textContent).toContain("no edits");
});

test("the first words of a new prompt do not stand before the old text", async () => {
  const model = await showSteering({
    prompt: "So",
    run: run(1, [
      [" a", " b"],
      [" a", " b"],
    ]),
    status: { ...SHARED.status, id: 1, state: "done" },
  });
  type(".sae-text", "Then");
  find(".sae-text").dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  await settle();
  model.fire("msg:custom", { kind: "tokens", id: 2, arms: [[" c"], [" d"]] });
  await settle();
  const panes = [...el.querySelectorAll(".sae-pane p")].map((p) => p.textContent);
  expect(panes).toEqual(["Then c", "Then d"]);
});

test("a change can be undone and done again", async () => {
  const model = await showSteering({ prompt: "So", edits: [EDIT] });
  find<HTMLButtonElement>(".sae-remove").click();
  await settle();
  expect(model.get("edits")).toEqual([]);
  find<HTMLButtonElement>("[aria-label=undo]").click();
  await settle();
  expect(model.get("edits")).toEqual([EDIT]);
  await vi.advanceTimersByTimeAsync(500);
  find<HTMLButtonElement>("[aria-label=redo]").click();
  await settle();
  expect(model.get("edits")).toEqual([]);
});

const nudge = () =>
  find(".sae-slider").dispatchEvent(
    new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }),
  );
const strengthShown = () => find(".sae-slider").getAttribute("aria-valuenow");

test("an echo of an earlier message does not take a newer strength back", async () => {
  const model = await showSteering({ prompt: "So", edits: [EDIT] });
  nudge(); // sent at once, and its echo comes before the next one is sent
  await vi.advanceTimersByTimeAsync(10);
  nudge();
  await vi.advanceTimersByTimeAsync(40);
  expect(strengthShown()).toBe("0.52");
  await vi.advanceTimersByTimeAsync(200);
  expect(model.saved.at(-1)?.request?.edits?.[0]?.strength).toBe(0.52);
  expect(model.get("edits")[0]?.strength).toBe(0.52);
});

test("a panel that is closed sends what was changed last", async () => {
  const model = await showSteering({ prompt: "So", edits: [EDIT] });
  nudge();
  await vi.advanceTimersByTimeAsync(10);
  nudge();
  close?.();
  expect(model.saved.at(-1)?.edits?.[0]?.strength).toBe(0.52);
});

test("what is typed in a box stays while a run redraws it, and Enter takes it", async () => {
  const model = await showSteering({ prompt: "So", edits: [EDIT] });
  type("[aria-label=strength]", "0.7");
  model.set("status", { ...SHARED.status, id: 1, state: "working" });
  await settle();
  const box = find<HTMLInputElement>("[aria-label=strength]");
  expect(box.value).toBe("0.7");
  expect(model.get("edits")[0]?.strength).toBe(0.5);
  box.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  await settle();
  expect(model.get("edits")[0]?.strength).toBe(0.7);
});

test("what cannot be taken stays in its box, with what would be right beside it", async () => {
  const model = await showSteering({ prompt: "So" });
  const box = () => find<HTMLInputElement>("[aria-label='tokens to write']");
  type("[aria-label='tokens to write']", "5000");
  box().dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
  await settle();
  expect(box().value).toBe("5000");
  expect(box().getAttribute("aria-invalid")).toBe("true");
  expect(find(".sae-bad").textContent).toBe("a number from 1 to 2000");
  expect(model.get("length")).toBe(40);
  box().dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  await settle();
  expect(box().value).toBe("40");
  expect(el.querySelector(".sae-bad")).toBeNull();
});

test("a view that is opened while a run goes on shows it from its beginning", async () => {
  const model = await showSteering({
    prompt: "So",
    request: {},
    status: { ...SHARED.status, id: 1, state: "working" },
  });
  model.fire("msg:custom", {
    kind: "tokens",
    id: 1,
    arms: [
      [" a", " b", " c"],
      [" a", " x"],
    ],
  });
  await settle();
  const panes = [...el.querySelectorAll(".sae-pane p")].map((p) => p.textContent);
  expect(panes).toEqual(["So a b c", "So a x"]);
});

test("a run that is stopped says after how many tokens, and is spoken", async () => {
  const model = await showSteering({ prompt: "So", run: RUN, status: DONE });
  find("form").dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
  await settle();
  model.set("run", {
    ...run(2, [
      [" a", " b"],
      [" a", " c"],
    ]),
    ended: "stopped",
  });
  model.set("status", { ...DONE, id: 2 });
  await settle();
  expect(find(".sae-foot").textContent).toContain("stopped");
  expect(find("[aria-live]").textContent).toBe("stopped");
});

test("the recommended strength is told to the eye and to a screen reader", async () => {
  await showSteering({ edits: [EDIT] });
  expect(find(".sae-slider").title).toContain("Recommended: 0.48 × peak");
  expect(find(".sae-slider").getAttribute("aria-description")).toBe("Recommended: 0.48 × peak");
});

test("the name of an edit picks its SAE and its feature in one", async () => {
  const model = await showSteering({ edits: [{ ...EDIT, sae: "frozen" }] });
  find<HTMLButtonElement>(".sae-name").click();
  expect(model.saved.at(-1)).toEqual({ pick: { id: 1, sae: "frozen", feature: 131 } });
});

const DONE = { ...SHARED.status, id: 1, state: "done" } as const;
const RUN = run(1, [[" a"], [" b"]]);

test("results of other settings are greyed and called so", async () => {
  await showSteering({ prompt: "So", run: RUN, status: DONE, live: false });
  expect(el.querySelector(".sae-pane.sae-old")).toBeNull();
  type("[aria-label='tokens to write']", "9");
  find("[aria-label='tokens to write']").dispatchEvent(new Event("change", { bubbles: true }));
  await settle();
  expect(el.querySelectorAll(".sae-pane.sae-old").length).toBe(2);
  expect(find(".sae-foot > span").textContent).toBe("of the settings before; Run writes anew");
});

test("an emptied prompt is not offered to be run", async () => {
  await showSteering({ prompt: "So", run: RUN, status: DONE });
  type(".sae-text", "");
  await settle();
  expect(find(".sae-foot > span").textContent).toBe("of the prompt before");
});

test("a run that is stopped before it writes leaves the one before it, greyed", async () => {
  const model = await showSteering({ prompt: "So", run: RUN, status: DONE });
  find("form").dispatchEvent(new Event("submit", { bubbles: true, cancelable: true }));
  await settle();
  model.set("run", { ...run(2, [[], []]), ended: "stopped" });
  model.set("status", { ...DONE, id: 2, state: "stopped" });
  await settle();
  expect(find(".sae-pane.sae-old:last-child").textContent).toContain("So b");
  expect(find(".sae-foot > span").textContent).toBe("stopped before the first token");
});

test("a removed row hands the focus on, and a held key removes one row only", async () => {
  const model = await showSteering({ edits: [EDIT, { ...EDIT, feature: 7 }] });
  const press = (repeat: boolean) =>
    find(".sae-slider").dispatchEvent(
      new KeyboardEvent("keydown", { key: "Delete", repeat, bubbles: true }),
    );
  press(false);
  await settle();
  press(true);
  await settle();
  expect(model.get("edits").map(({ feature }) => feature)).toEqual([7]);
  expect(document.activeElement).toBe(find(".sae-name"));
  find<HTMLButtonElement>(".sae-remove").click();
  await settle();
  expect(document.activeElement).toBe(find(".sae-search"));
});

test("Escape closes the open list of features and does not stop the run", async () => {
  const model = await showSteering({ prompt: "So", run: RUN, status: DONE });
  model.set("status", { ...DONE, id: 2, state: "working" });
  find<HTMLInputElement>(".sae-search").focus();
  await settle();
  expect(el.querySelector(".sae-list")).toBeNull(); // who passes by with Tab is shown nothing
  find(".sae-search").click();
  await settle();
  expect(el.querySelector(".sae-list")).not.toBeNull();
  const leave = () =>
    find(".sae-search").dispatchEvent(
      new KeyboardEvent("keydown", { key: "Escape", bubbles: true }),
    );
  leave();
  await settle();
  expect(el.querySelector(".sae-list")).toBeNull();
  expect(model.get("stop")).toBe(0);
  leave();
  expect(model.get("stop")).toBe(2);
});

test("who steers from the heatmap is told where to look", async () => {
  const row = { feature: 5, label: "five", peak: 1, density: 0, max: 1, mean: 1, share: 1 };
  const model = await showHeatmap({ text: "So", view: viewOf(row), selected: 5 });
  find(".sae-card button").click();
  await settle();
  expect(model.saved.at(-1)?.steer).toEqual({ id: 1, feature: 5, sae: "topk" });
  expect(find(".sae-card [role=status]").textContent).toContain("Added to the edits");
});

const PAINTING: Partial<HeatmapTraits> = {
  saes: SHARED.saes.map((sae) => ({ ...sae, norm: 8 })),
  text: "So it",
  view: {
    ...viewOf({ feature: 5, label: "five", peak: 1, density: 0, max: 1, mean: 1, share: 1 }),
    text: "So it",
    tokens: ["⟨bos⟩", "So", "it"],
    special: [0],
  },
};
const press = (name: string) => {
  key("[role=grid]", name);
  return settle();
};
const saidOfCell = () => find("[role=gridcell]").textContent;
const rowOf = (values: number[]) => ({ sae: "topk", feature: 5, values });

test("P begins to paint, Space paints with the brush, and Escape ends it and nothing else", async () => {
  const model = await showHeatmap(PAINTING);
  const heard = vi.fn();
  el.addEventListener("keydown", heard);
  await press(" ");
  expect(model.saved).toEqual([]); // not painting yet
  await press("p");
  expect(find(".sae-paint button").getAttribute("aria-pressed")).toBe("true");
  await press(" ");
  expect(model.saved).toEqual([]); // a special token
  await press("ArrowRight");
  await press("]");
  await press(" ");
  expect(model.saved.at(-1)?.paint).toEqual({ id: 1, rows: [rowOf([0, 0.55, 0])] });
  expect(saidOfCell()).toContain("feature 5 five, 0.00, painted: 0.55 × peak");
  heard.mockClear();
  await press("Escape");
  expect(heard).not.toHaveBeenCalled();
  expect(find(".sae-paint button").getAttribute("aria-pressed")).toBe("false");
  await press("Escape");
  expect(heard).toHaveBeenCalled();
});

test("a stroke shows until the kernel has dealt with it, and then what the edits say", async () => {
  const model = await showHeatmap(PAINTING);
  await press("p");
  await press("ArrowRight");
  await press(" ");
  const painted = { ...rowOf([0, 0.5]), op: "add", unit: "peak", on: true } as const;
  model.set("painted", [{ ...painted, values: [0, 0.1] }]); // older than the stroke
  await settle();
  expect(saidOfCell()).toContain("0.50 × peak");
  model.set("painted", [{ ...painted, values: [0, 0.2] }]);
  model.set("taken", 1);
  await settle();
  expect(saidOfCell()).toContain("0.20 × peak");
  model.set("painted", []); // removed in a panel
  await settle();
  expect(saidOfCell()).not.toContain("painted");
  await press(" ");
  model.set("taken", 2); // refused
  await settle();
  expect(saidOfCell()).not.toContain("painted");
});

test("rows that the kernel has not dealt with are sent again with the next one", async () => {
  const row = { feature: 8, label: "eight", peak: 1, density: 0, max: 0.5, mean: 1, share: 1 };
  const view = PAINTING.view as View;
  const model = await showHeatmap({
    ...PAINTING,
    view: { ...view, features: [...view.features, row] },
  });
  await press("p");
  await press("ArrowRight");
  await press(" ");
  await press("ArrowDown");
  await press(" ");
  await vi.advanceTimersByTimeAsync(100);
  expect(model.saved.at(-1)?.paint).toEqual({
    id: 2,
    rows: [rowOf([0, 0.5, 0]), { ...rowOf([0, 0.5, 0]), feature: 8 }],
  });
  model.set("taken", 2);
  await press("Backspace");
  await vi.advanceTimersByTimeAsync(100);
  expect(model.saved.at(-1)?.paint).toEqual({
    id: 3,
    rows: [{ ...rowOf([0, 0, 0]), feature: 8 }],
  });
});

test("nothing is painted on a text that is not the one in the box, nor without a kernel", async () => {
  const model = await showHeatmap(PAINTING);
  await press("p");
  await press("ArrowRight");
  type(".sae-text", "Other");
  await settle();
  await press(" ");
  expect(model.saved).toEqual([]);
  type(".sae-text", "So it");
  model.silent = true;
  await vi.advanceTimersByTimeAsync(2100);
  await press(" ");
  expect(model.saved).toEqual([]);
});

test("a heatmap that nobody lets paint has no paint", async () => {
  await showHeatmap({ ...PAINTING, painted: null });
  expect(el.querySelector(".sae-paint")).toBeNull();
  await press("p");
  expect(find("[role=grid]").getAttribute("data-painting")).toBe("false");
});

test("without a corpus's statistics nothing is called a peak", async () => {
  const row = { feature: 5, label: "", peak: null, density: null, max: 1, mean: 1, share: 1 };
  await showHeatmap({ text: "So", view: viewOf(row) });
  expect(find(".sae-legend").textContent).toContain("each row's largest");
  expect(find(".sae-legend").textContent).not.toContain("peak");
});

test("the card of another feature is not shown under a new name", async () => {
  const row = { feature: 5, label: "five", peak: 1, density: 0, max: 1, mean: 1, share: 1 };
  const card = { ...row, sae: "topk", likely: [[" x", 1]] as [string, number][], unlikely: [] };
  const model = await showHeatmap({ text: "So", view: viewOf(row), card, selected: 5 });
  expect(find(".sae-card").textContent).toContain("makes likely");
  model.set("card", { ...card, feature: 6 });
  await settle();
  expect(find(".sae-card").textContent).toContain("five");
  const behind = find(".sae-card [aria-hidden=true]"); // greyed, so that nothing jumps
  expect(behind.className).toBe("sae-old");
  expect(find(".sae-card").textContent?.replace(behind.textContent ?? "", "")).not.toContain(
    "likely",
  );
  model.silent = true;
  await vi.advanceTimersByTimeAsync(2100);
  expect(find(".sae-card").textContent).toContain("needs a kernel");
});

const MEASURED: Effects = {
  id: 1,
  tokens: ["So", " it", " went", "."],
  given: 1,
  kl: [0, 0.5, 2, 0],
  more: [[], [["·sea", 0.31]], [["·sank", 0.6]], []],
  less: [[], [["·it", -0.2]], [], []],
  mean: 0.61,
  also: [
    { sae: "topk", feature: 7, label: "past tense", before: 1, after: 1.31 },
    { sae: "topk", feature: 8, label: "", before: 2, after: 0 },
  ],
  receipt: "asked 3, found 3.05",
  code: "edits = []",
};
const proven = (effects: Partial<Effects>) =>
  showSteering({
    prompt: "So",
    status: DONE,
    run: run(1, [
      [" it", " went", "."],
      [" it", " sank", "."],
    ]),
    effects,
  });

test("each token of the unsteered text shows how differently the edits would have had it go on", async () => {
  await proven(MEASURED);
  const marks = [...el.querySelectorAll<HTMLElement>(".sae-kl")];
  expect(marks.map((mark) => mark.textContent)).toEqual(["So", "it", "went", "."]);
  expect(marks.map((mark) => mark.style.getPropertyValue("--sae-kl"))).toEqual([
    "0%",
    "50%",
    "100%",
    "0%",
  ]);
  expect(marks[1]?.title).toBe("KL 0.50 nats\nlikelier here: ·sea +31 %\nless likely: ·it −20 %");
  expect(marks[2]?.title).toContain("Here the texts part");
  expect(find(".sae-pane:nth-child(2)").textContent).toContain("KL 0.61");
});

test("what was measured on another text is not shown under this one", async () => {
  await proven({ ...MEASURED, tokens: ["So", " they", " went", "."] });
  expect(el.querySelector(".sae-kl")).toBeNull();
  close?.();
  await proven({ ...MEASURED, id: 0 });
  expect(el.querySelector(".sae-also")).toBeNull();
  expect(find(".sae-pane:nth-child(2)").textContent).not.toContain("KL");
});

test("features that moved though nobody edited them are listed, and a click selects one", async () => {
  const model = await proven(MEASURED);
  const listed = [...el.querySelectorAll<HTMLElement>(".sae-also button")];
  expect(listed.map((one) => one.textContent)).toEqual(["7past tense+0.31", "8−2.00"]);
  listed[1]?.click();
  expect(model.saved.at(-1)).toEqual({ pick: { id: 1, sae: "topk", feature: 8 } });
});

test("a receipt opens below, and the run is copied as code, or shown where there is no clipboard", async () => {
  await proven(MEASURED);
  const button = (name: string) =>
    [...el.querySelectorAll<HTMLElement>(".sae-link")].find((one) => one.textContent === name);
  button("receipt")?.click();
  await settle();
  expect(find(".sae-drawer").textContent).toBe("asked 3, found 3.05");
  button("receipt")?.click();
  await settle();
  expect(el.querySelector(".sae-drawer")).toBeNull();
  const copied: string[] = [];
  const clipboard = { writeText: async (text: string) => void copied.push(text) };
  vi.stubGlobal("navigator", { clipboard });
  button("copy as code")?.click();
  await settle();
  expect(copied).toEqual(["edits = []"]);
  expect(button("copied")).toBeDefined();
  await vi.advanceTimersByTimeAsync(2100);
  vi.stubGlobal("navigator", {});
  button("copy as code")?.click();
  await settle();
  expect(find(".sae-drawer").textContent).toBe("edits = []");
  vi.unstubAllGlobals();
});

const arm = (factor: number, text: string, control: Control = ""): SweepArm => ({
  control,
  factor,
  tokens: [` ${text}`],
  nll: 1,
  concept: factor / 2,
  kl: factor,
  surprise: 0,
  distinct: 1,
});
const REQUEST: RunRequest = {
  id: 3,
  prompt: "So",
  length: 40,
  temperature: 0,
  seed: 0,
  edits: [EDIT],
  control: "",
};
const SWEPT: Sweep = {
  id: 3,
  state: "done",
  request: REQUEST,
  safe: 1,
  budget: 1,
  arms: [
    arm(0, "none"),
    arm(0.5, "half"),
    arm(1, "one"),
    arm(2, "two"),
    arm(0.5, "other half", "random"),
    arm(1, "other one", "random"),
    arm(2, "other two", "random"),
  ],
};
const sweeping = (swept: Partial<Sweep> = SWEPT) =>
  showSteering({
    prompt: "So",
    edits: [EDIT],
    status: DONE,
    run: { ...run(1, [[" a"], [" b"]]), request: REQUEST },
    sweep: REQUEST,
    swept,
  });
const key = (selector: string, name: string) =>
  find(selector).dispatchEvent(new KeyboardEvent("keydown", { key: name, bubbles: true }));
const texts = () => [...el.querySelectorAll(".sae-pane p")].map((p) => p.textContent);

test("a sweep is asked for with the settings on screen, and only where something is edited", async () => {
  const model = await showSteering({ prompt: "So", seed: 5, edits: [EDIT], status: DONE });
  const button = () =>
    [...el.querySelectorAll<HTMLElement>("button")].find((one) => one.textContent === "sweep");
  button()?.click();
  expect(model.saved.at(-1)?.sweep).toMatchObject({ id: 1, prompt: "So", seed: 5, edits: [EDIT] });
  model.set("edits", [{ ...EDIT, on: false }]);
  await settle();
  expect(button()?.getAttribute("aria-disabled")).toBe("true");
});

test("the texts of a sweep are read from the keyboard without asking the kernel, and one is taken", async () => {
  const model = await sweeping();
  const asked = model.saved.length;
  expect(texts()).toEqual(["So a", "So b"]);
  key(".sae-plot", "ArrowRight");
  await settle();
  expect(texts()).toEqual(["So none", "So two"]);
  expect(find(".sae-pane:nth-child(2)").textContent).toContain("steered at 1");
  expect(find(".sae-plot").getAttribute("aria-valuetext")).toBe(
    "1: feature 1.00 × peak · KL 2.00 · surprise 0.00 · distinct 1.00",
  );
  key(".sae-plot", "Home");
  await settle();
  expect(texts()).toEqual(["So none", "So none"]);
  key(".sae-plot", "Escape");
  await settle();
  expect(texts()).toEqual(["So a", "So b"]);
  key(".sae-plot", "Enter"); // nothing is looked at
  await settle();
  expect(model.saved.length).toBe(asked);
  key(".sae-plot", "ArrowLeft");
  await settle();
  key(".sae-plot", "Enter");
  await settle();
  expect(model.get("edits")[0]?.strength).toBe(0.25);
});

test("a sweep of other edits or settings is greyed, and nothing of it can be taken", async () => {
  const model = await sweeping();
  model.set("edits", [{ ...EDIT, strength: 1 }]);
  await settle();
  expect(el.querySelector(".sae-old .sae-sweep")).toBeNull();
  expect(find(".sae-now").getAttribute("x1")).toBe("600");
  const more = [EDIT, { ...EDIT, feature: 7 }];
  model.set("edits", more);
  await settle();
  expect(el.querySelector(".sae-now")).toBeNull();
  expect(el.querySelector(".sae-old .sae-sweep")).not.toBeNull();
  key(".sae-plot", "ArrowRight");
  await settle();
  key(".sae-plot", "Enter");
  find(".sae-plot").click();
  await settle();
  expect(texts()).toEqual(["So a", "So b"]);
  expect(model.get("edits")).toEqual(more);
  model.set("edits", [EDIT]);
  model.set("seed", 8);
  await settle();
  expect(el.querySelector(".sae-old .sae-sweep")).not.toBeNull();
});

test("a sweep says that it works, and why it cannot", async () => {
  const model = await sweeping({ id: 1, state: "working" });
  expect(find(".sae-sweeping").textContent).toBe("sweeping …");
  model.set("swept", { id: 1, state: "error", text: "Ablate(4) has no strength to scale" });
  await settle();
  expect(find(".sae-sweeping").textContent).toBe("no sweep: Ablate(4) has no strength to scale");
});

test("edits that overlap are told of, with how much they do", async () => {
  await showSteering({
    prompt: "So",
    edits: [EDIT, { ...EDIT, feature: 57 }],
    status: DONE,
    effects: { id: 1, overlaps: [["131", "57", -0.62]] },
  });
  expect(find(".sae-overlap").textContent).toBe(
    "131 and 57 point against each other (cosine −0.62)",
  );
});

test("a sweep that goes on can be stopped", async () => {
  const model = await sweeping({ id: 3, state: "working" });
  model.set("status", { ...DONE });
  await settle();
  const stop = [...el.querySelectorAll<HTMLElement>("button")].find(
    (b) => b.textContent === "Stop",
  );
  expect(stop?.getAttribute("aria-disabled")).toBe("false");
  stop?.click();
  expect(model.saved.at(-1)).toEqual({ sweep: {} });
});

test("no sweep is of a strength of nothing: at none, the edits are off", async () => {
  const model = await sweeping();
  key(".sae-plot", "ArrowLeft");
  await settle();
  key(".sae-plot", "Home");
  await settle();
  key(".sae-plot", "Enter");
  await settle();
  expect(model.get("edits")).toEqual([{ ...EDIT, on: false }]);
});

/** A panel that was asked to record, and a kernel that has found out how much that is. */
async function questioned() {
  const model = await showSteering({ prompt: "So", edits: [EDIT], status: DONE });
  named("record").click();
  await hear(model, "working");
  return model;
}
type Panel = FakeModel<SteeringTraits & Record<string, unknown>>;
/** What the kernel tells of the recorder, once it has echoed what it was told. */
async function hear(model: Panel, state: Recorder["state"], text = "") {
  await settle();
  model.set("recorder", { id: model.get("record").id ?? 0, state, text, share: 0 });
  await settle();
}
const named = (name: string) => {
  const found = [...el.querySelectorAll("button")].find((each) => each.textContent === name);
  if (!found) throw new Error(`no button ${name}`);
  return found;
};
const isOff = (name: string) => named(name).getAttribute("aria-disabled") === "true";
const clickAgain = (name: string) =>
  named(name).dispatchEvent(new MouseEvent("click", { detail: 2, bubbles: true }));

test("a double click and a key that is held down open the question and do not answer it", async () => {
  const model = await questioned();
  await hear(model, "asks", "4 runs");
  expect(el.textContent).toContain("to record: 4 runs");
  const asked = model.saved.length;
  clickAgain("record now");
  clickAgain("cancel"); // which may have moved there
  const held = { key: "Enter", repeat: true, bubbles: true, cancelable: true };
  expect(named("record now").dispatchEvent(new KeyboardEvent("keydown", held))).toBe(false);
  expect(model.saved.length).toBe(asked);
  named("record now").click();
  expect(model.saved.at(-1)?.record).toMatchObject({ id: 2, sure: true });
});

test("while a recording runs, and before the kernel hears of it, no other can be begun", async () => {
  const model = await questioned();
  await hear(model, "asks", "4 runs");
  named("record now").focus();
  named("record now").click();
  await settle();
  expect(el.textContent).toContain("to record: 4 runs"); // nothing jumps
  const asked = model.saved.length;
  named("record").click();
  await hear(model, "working", "4 runs");
  named("record").click();
  expect(isOff("record")).toBe(true);
  expect(model.saved.length).toBe(asked);
  expect(document.activeElement).toBe(named("record"));
  named("Stop").click();
  expect(model.saved.at(-1)?.record).toEqual({});
  await hear(model, "stopped", "Stopped.");
  expect(isOff("record")).toBe(false);
});

test("only a recording is told to go on, and only an estimate to be one", async () => {
  const model = await questioned();
  const told = () => find(".sae-sweeping").textContent;
  expect(told()).toBe("estimating …");
  await hear(model, "asks", "4 runs");
  named("record now").click();
  await hear(model, "working"); // it does not say yet how much
  expect(told()).toBe("recording …");
  await hear(model, "working", "4 runs");
  expect(told()).toBe("recording 4 runs");
});

test.each([
  ["an estimate", "working", "record"],
  ["the question", "asks", "record now"],
] as const)(
  "of %s, Escape inside of it is the end, and Escape elsewhere is not",
  async (_, state, name) => {
    const model = await questioned();
    await hear(model, state, state === "asks" ? "4 runs" : "");
    expect(isOff("Stop")).toBe(true);
    const asked = model.saved.length;
    key(".sae-text", "Escape");
    key(".sae-slider", "Escape");
    expect(model.saved.length).toBe(asked);
    expect(named(name)).toBeTruthy();
    named("cancel").focus();
    named("cancel").dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    expect(model.saved.at(-1)?.record).toEqual({});
    await hear(model, "done");
    expect(document.activeElement).toBe(named("record"));
  },
);

test("where the question goes away by itself, the focus that it had stays beside it", async () => {
  const model = await questioned();
  named("cancel").focus();
  await hear(model, "error", "1,200 kB is too much");
  expect(document.activeElement).toBe(named("record"));
  const other = await questioned();
  await hear(other, "asks", "4 runs");
  named("cancel").focus();
  other.set("edits", []);
  await settle();
  expect(document.activeElement).toBe(named("record"));
  find(".sae-text").focus();
});

test("what could not be measured is said beside what was applied", async () => {
  await proven({ id: 1, trouble: "out of memory" });
  expect(find(".sae-foot").textContent).toContain("not measured: out of memory");
  expect(el.querySelector(".sae-pane.sae-old")).toBeNull(); // the texts are as good as ever
});

test("while a sweep is made anew the old curve stays, greyed, and is not taken from", async () => {
  const model = await sweeping({ ...SWEPT, state: "working" });
  expect(find(".sae-sweeping").textContent).toBe("sweeping …");
  expect(el.querySelector(".sae-old .sae-sweep")).not.toBeNull();
  find(".sae-plot").click();
  await settle();
  expect(model.get("edits")).toEqual([EDIT]);
});

const aboutThis = () =>
  [...el.querySelectorAll<HTMLElement>(".sae-link")].find((b) => b.textContent === "about this");
const ABOUT = {
  model: { name: "<b>postcards</b>", weights: "bff5" },
  saes: { topk: { width: "256", provenance: { prefixes: null } }, frozen: { width: "9" } },
  versions: { python: "3.11.7" },
};
const TOLD = [
  ["model:", "name: <b>postcards</b>", "weights: bff5"],
  ["SAE frozen:", "width: 9"],
  ["versions:", "python: 3.11.7"],
];

test("a heatmap tells what it was made with, of the SAE that it shows", async () => {
  const row = { feature: 7, label: "", peak: 1, density: 0.1, max: 1, mean: 1, share: 1 };
  await showHeatmap({ view: { ...viewOf(row), sae: "frozen" }, about: ABOUT });
  expect(el.querySelector(".sae-drawer")).toBeNull();
  aboutThis()?.click();
  await settle();
  const lines = find(".sae-drawer")
    .textContent?.split("\n")
    .map((line) => line.trim());
  expect(lines?.filter(Boolean)).toEqual(TOLD.flat());
  aboutThis()?.click();
  await settle();
  expect(el.querySelector(".sae-drawer")).toBeNull();
});

test("a steering panel tells what it was made with, and its seed", async () => {
  await showSteering({ about: ABOUT, seed: 7 });
  aboutThis()?.click();
  await settle();
  const told = find(".sae-drawer").textContent;
  for (const line of [
    "name: <b>postcards</b>",
    "SAE topk:",
    "width: 256",
    "prefixes: null",
    "seed: 7",
  ])
    expect(told).toContain(line);
  expect(told).not.toContain("frozen");
});

test("what nobody has told is not offered", async () => {
  await showSteering();
  expect(aboutThis()).toBeUndefined();
});
