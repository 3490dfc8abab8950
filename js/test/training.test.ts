// @vitest-environment happy-dom
import type { RenderProps } from "@anywidget/types";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import training from "../src/widgets/training";
import { BINS, decodeLines, FIGURES, type TrainingTraits } from "../src/wire";
import { FakeModel } from "./model";

type State = TrainingTraits & Record<string, unknown>;

/** Lines at these steps, at an odd place of a larger buffer, as Jupyter may hand them over. */
function lines(steps: number[], loss: (step: number) => number = (step) => 1 / step) {
  const figures = new DataView(new ArrayBuffer(4 * FIGURES.length * steps.length + 1), 1);
  const densities = new DataView(new ArrayBuffer(4 * BINS * steps.length + 1), 1);
  steps.forEach((step, i) => {
    const values = [step, loss(step), 0.5, 4.25, 0.25, 0.002, 1.5];
    values.forEach((value, j) => {
      figures.setFloat32(4 * (i * FIGURES.length + j), value, true);
    });
    for (let bin = 0; bin < BINS; bin++)
      densities.setUint32(4 * (i * BINS + bin), bin + step, true);
  });
  return { figures, densities };
}

const TRAINING: TrainingTraits = {
  status: { id: 1, state: "working", text: "", detail: "", seconds: 0 },
  about: {},
  run: {
    steps: 40,
    batch: 8,
    folder: "runs/a",
    saes: [{ name: "mine", hook: "h", d_sae: 24, target: 4 }],
  },
  at: { state: "training", step: 30, seconds: 3, left: 1, saved: 20, saves: 0 },
  ...lines([10, 20, 30]),
  sae: "mine",
  paused: false,
  ended: false,
  saves: 0,
};

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

const settle = () => vi.advanceTimersByTimeAsync(60);

async function show(state: Partial<TrainingTraits> = {}, disconnected = false) {
  const model = new FakeModel<State>({ ...TRAINING, ...state } as State);
  model.silent = disconnected;
  el.className = disconnected ? "jupyter-widgets-disconnected" : "";
  const props = { model: model.model, el } as unknown as RenderProps<TrainingTraits>;
  close = training.render(props);
  await settle();
  return model;
}

const button = (name: string) =>
  [...el.querySelectorAll("button")].find((each) => each.textContent === name);
const click = async (name: string) => {
  button(name)?.click();
  await settle();
};
const charts = () =>
  [...el.querySelectorAll("[role=img]")].map((chart) => chart.getAttribute("aria-label"));
const told = () => el.querySelector(".sae-told .sae-number")?.textContent;

test("lines are read from two byte traits, wherever their bytes lie", () => {
  const { figures, densities } = lines([7, 9]);
  const [[first, second, ...rest] = []] = decodeLines(figures, densities, 1);
  expect(rest).toEqual([]);
  expect(first).toMatchObject({ step: 7, fvu: 0.5, l0: 4.25, dead: 0.25, grad_norm: 1.5 });
  expect(second?.densities.slice(0, 3)).toEqual([9, 10, 11]);
  const half = new DataView(densities.buffer, densities.byteOffset, 4 * BINS);
  expect(decodeLines(figures, half, 1)[0]).toHaveLength(1);
  const [mine, wide] = decodeLines(figures, densities, 2);
  expect([mine?.map(({ step }) => step), wide?.map(({ step }) => step)]).toEqual([[7], [9]]);
});

test("every figure has a chart that says what it comes to, for who cannot see it", async () => {
  await show();
  expect(charts()).toEqual([
    "loss: 0.0333 at step 30",
    "FVU: 0.5 at step 30",
    "L0: 4.25 at step 30, target 4",
    "dead: 25 % at step 30",
    expect.stringContaining("at step 30: 30 features never; the most, 42, fire on 30 % to 100 %"),
    "learning rate: 2e−3 at step 30",
    "gradient: 1.5 at step 30",
  ]);
  expect(el.querySelectorAll(".sae-target")).toHaveLength(1);
  expect(told()).toBe("step 30 of 40 · 1.0 s left · checkpoint 20");
});

test("one step is read on all charts, with the slider, and the newest again with Escape", async () => {
  await show();
  const slider = el.querySelector("input") as HTMLInputElement;
  slider.value = "0";
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  await settle();
  expect(charts()[0]).toBe("loss: 0.1 at step 10");
  expect(charts()[4]).toContain("10 features never");
  expect(slider.getAttribute("aria-valuetext")).toContain("step 10: loss 0.1, FVU 0.5, L0 4.25");
  expect(el.querySelectorAll(".sae-seen")).toHaveLength(6);
  slider.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
  await settle();
  expect(charts()[0]).toBe("loss: 0.0333 at step 30");
});

test("pause, save now and stop each send their own trait, and nothing else", async () => {
  const model = await show();
  await click("Pause");
  expect(told()).toBe("pausing at step 30 of 40 …");
  await click("Go on");
  await click("Save now");
  expect(button("Saving …")).toBeDefined();
  await click("Stop");
  expect(model.saved).toEqual([{ paused: true }, { paused: false }, { saves: 1 }, { ended: true }]);
  expect(told()).toBe("stopping at step 30 of 40 …");
  await click("Pause");
  expect(model.saved).toHaveLength(4);
});

test("without a folder no checkpoint can be asked for, and the button says why", async () => {
  const model = await show({ run: { ...TRAINING.run, folder: null } });
  expect(button("Save now")?.title).toContain("No folder was given");
  await click("Save now");
  expect(model.saved).toEqual([]);
});

test("a run that is over has no buttons", async () => {
  for (const state of ["done", "stopped", "failed"] as const) {
    await show({ at: { ...TRAINING.at, state } });
    expect(el.querySelectorAll(".sae-bar button")).toHaveLength(0);
    close?.();
  }
});

test("without a kernel the last state is drawn, and said to be recorded", async () => {
  const model = await show({}, true);
  expect(el.querySelector(".sae-note")?.textContent).toContain("Recorded");
  expect(told()).toBe("recorded at step 30 of 40, while it ran");
  expect(charts()).toHaveLength(7);
  await click("Stop");
  expect(model.saved).toEqual([]);
});

test("when the kernel is silent it is said what a restart has left of the training", async () => {
  const model = await show();
  model.silent = true;
  await vi.advanceTimersByTimeAsync(2500);
  expect(el.textContent).toContain('with existing="resume", this cell goes on from step 20');
  model.set("at", { ...TRAINING.at, step: 31 }); // its figures prove that it lives
  await settle();
  expect(el.textContent).not.toContain("existing=");
});

test("when a busy kernel does not hear a button, it is said what to do", async () => {
  const model = await show();
  await click("Pause");
  const hint = "interrupt it: the training goes on";
  expect(el.textContent).not.toContain(hint);
  for (let step = 31; step < 36; step++) {
    model.set("at", { ...TRAINING.at, step });
    await vi.advanceTimersByTimeAsync(1000);
  }
  expect(el.textContent).toContain(hint);
  model.set("at", { ...TRAINING.at, step: 36, state: "paused" });
  await settle();
  expect(el.textContent).not.toContain(hint);
});

test("a long wait between two steps is explained", async () => {
  await show();
  await vi.advanceTimersByTimeAsync(4000);
  expect(told()).toContain("the model reads texts …");
});

test("what cannot be drawn breaks its curve and nothing else", async () => {
  const broken = lines([10, 20, 30, 40], (step) => (step === 20 ? Number.NaN : 1 / step));
  await show(broken);
  const path = el.querySelector(".sae-curve")?.getAttribute("d") ?? "";
  expect(path.match(/M/g)).toHaveLength(2);
  expect(path.match(/L/g)).toHaveLength(1);
  expect(path).not.toContain("NaN");
});

test("several SAEs have a line each, and the one that is chosen is read and lies on top", async () => {
  const run = {
    ...TRAINING.run,
    saes: [
      { name: "mine", hook: "h", d_sae: 24, target: 4 },
      { name: "wide", hook: "g", d_sae: 48, target: null },
    ],
  };
  // Every other line is of the second.
  const model = await show({ ...lines([10, 11, 20, 21]), run });
  expect(charts()[0]).toBe("loss of mine: 0.05 at step 20");
  const loss = () => [...el.querySelectorAll("figure:first-child g")];
  expect(loss().map((g) => g.getAttribute("data-hue"))).toEqual(["1", "0"]);
  expect(el.querySelectorAll(".sae-target")).toHaveLength(1);
  const [mine, wide] = el.querySelectorAll<HTMLElement>("[role=group] button");
  expect(wide?.parentElement?.getAttribute("aria-label")).toBe("SAE whose figures are read");
  expect(mine?.getAttribute("aria-pressed")).toBe("true");
  wide?.click();
  await settle();
  expect(model.saved).toEqual([{ sae: "wide" }]);
  expect(charts()[0]).toBe("loss of wide: 0.0476 at step 21");
  expect(charts()[2]).toBe("L0 of wide: 4.25 at step 21");
  expect(charts()[4]).toContain("how often features of wide fire, at step 21: ");
  const slider = el.querySelector("input");
  expect(slider?.getAttribute("aria-valuetext")).toContain("wide, step 21: loss 0.0476");
  expect(loss().map((g) => g.getAttribute("data-hue"))).toEqual(["0", "1"]);
  expect(el.querySelector(".sae-foot")?.textContent).toContain("g · 48 features");
});

test("before the first line there is a sentence in place of charts", async () => {
  await show({ ...lines([]), at: { ...TRAINING.at, state: "starting", step: 0 } });
  expect(el.querySelector(".sae-empty")?.textContent).toContain("reads the first texts");
  expect(charts()).toEqual([]);
});

test("what is to be known of a training stands in words, as text", async () => {
  const note = "93% of the features are dead <img src=x>: a smaller lr helps";
  await show({ run: { ...TRAINING.run, notes: [note, "checkpoint-6 is passed over"] } });
  const notes = [...el.querySelectorAll(".sae-note")].map((each) => each.textContent);
  expect(notes).toEqual([note, "checkpoint-6 is passed over"]);
  expect(el.querySelector("img")).toBeNull();
});
