// @vitest-environment happy-dom
import { beforeAll, expect, test, vi } from "vitest";
import { enliven, modelsOf, RecordedModel, type Recording } from "../src/page";

beforeAll(() => {
  vi.stubGlobal("reportError", vi.fn());
});

const recording = (widgets: Recording["widgets"], values: unknown[] = []): Recording => ({
  values,
  widgets,
});

test("a value that two widgets share is there once, and bytes are bytes again", () => {
  const models = modelsOf(
    recording(
      [
        { name: "heatmap", traits: { text: 0, row: 1 }, bytes: ["row"] },
        { name: "steering", traits: { prompt: 0 }, bytes: [] },
      ],
      ["one", btoa("\x01\x00\xff")],
    ),
  );
  expect(models.map(([name]) => name)).toEqual(["heatmap", "steering"]);
  expect(models[1]?.[1].get("prompt")).toBe("one");
  const row = models[0]?.[1].get("row") as DataView;
  expect([row.byteLength, row.getUint8(2)]).toEqual([3, 255]);
});

test("a recorded model tells of what changes, and only of that", () => {
  const model = new RecordedModel([["sort", "max"]]);
  const heard = vi.fn();
  model.on("change:sort", heard);
  model.set("sort", "max");
  model.set("scale", "text");
  expect(heard).not.toHaveBeenCalled();
  model.set("sort", "mean");
  expect(heard).toHaveBeenCalledTimes(1);
  expect(model.get("sort")).toBe("mean");
  model.off("change:sort", heard);
  model.set("sort", "max");
  expect(heard).toHaveBeenCalledTimes(1);
});

test("a trait that nobody recorded is undefined, whatever its name", () => {
  const [[, model] = []] = modelsOf(recording([{ name: "heatmap", traits: {}, bytes: [] }]));
  expect(model?.get("constructor")).toBeUndefined();
});

test.each([
  ["a name that is no widget's", "constructor", "0"],
  ["a widget that is not there", "heatmap", "7"],
  ["a recording that a widget cannot show", "heatmap", "0"],
])("for %s the picture stays", (_, name, number) => {
  document.body.innerHTML = `<div data-sae-view="${number}"><img alt="a picture"></div>`;
  enliven(recording([{ name, traits: {}, bytes: [] }]), document);
  expect(document.querySelector("img")).not.toBeNull();
  expect(document.querySelector(".sae-root")).toBeNull();
});
