/**
 * A page without a kernel: gives each widget that it holds a model with what was recorded.
 *
 * All widgets are in this one script, which comes from the package: of what a notebook or a page
 * carries, nothing is run. A recording is data, and whoever wrote it is not to be trusted.
 */

import type { AnyModel } from "@anywidget/types";
import { framed } from "./framed";
import heatmap from "./widgets/heatmap";
import steering from "./widgets/steering";
import training from "./widgets/training";

/** What stands in the page's data: widgets, and the values of their traits, each value once. */
export interface Recording {
  values: unknown[];
  widgets: {
    name: string;
    /** The places in `values` of the traits' values. */
    traits: Record<string, number>;
    /** Which traits are bytes, in base64. */
    bytes: string[];
  }[];
}

type Listener = (...args: unknown[]) => void;
// biome-ignore lint/suspicious/noExplicitAny: a widget of any traits
type Render = (props: { model: AnyModel<any>; el: HTMLElement }) => unknown;

const RENDERS = new Map([
  ["heatmap", heatmap.render as Render],
  ["steering", steering.render as Render],
  ["training", training.render as Render],
]);

/** A model as anywidget gives one, of which nobody hears. */
export class RecordedModel {
  #values: Map<string, unknown>;
  #listeners: [name: string, listener: Listener][] = [];

  constructor(values: Iterable<[string, unknown]>) {
    this.#values = new Map(values);
  }
  get(name: string): unknown {
    return this.#values.get(name);
  }
  /** Like Jupyter's: what is equal is no change. */
  set(name: string, value: unknown): void {
    const changed = JSON.stringify(this.#values.get(name)) !== JSON.stringify(value);
    this.#values.set(name, value);
    if (!changed) return;
    for (const [each, listener] of [...this.#listeners]) if (each === `change:${name}`) listener();
  }
  on(name: string, listener: Listener): void {
    this.#listeners.push([name, listener]);
  }
  off(name: string, listener: Listener): void {
    this.#listeners = this.#listeners.filter(([n, l]) => n !== name || l !== listener);
  }
  save_changes(): void {}
  send(): void {}
}

/** The model of each recorded widget, with its name. */
export function modelsOf({ values, widgets }: Recording): [name: string, RecordedModel][] {
  return widgets.map(({ name, traits, bytes }) => {
    const read = Object.entries(traits).map(([trait, place]): [string, unknown] => {
      const value = values[place];
      return [trait, bytes.includes(trait) ? decoded(String(value)) : value];
    });
    return [name, new RecordedModel(read)];
  });
}

function decoded(text: string): DataView {
  return new DataView(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
}

/** Let the widgets of a recording live where the page has a picture of them. */
export function enliven(recording: Recording, page: Document): void {
  const models = modelsOf(recording);
  for (const place of page.querySelectorAll<HTMLElement>("[data-sae-view]")) {
    const [name, model] = models[Number(place.dataset.saeView)] ?? [];
    const render = RENDERS.get(name ?? "");
    if (!render || !model) continue;
    const el = page.createElement("div");
    place.append(el);
    try {
      render({ model: model as unknown as AnyModel, el });
      place.replaceChildren(el);
    } catch (error) {
      el.remove(); // the picture stays
      reportError(error);
    }
  }
}

framed(document);
const data = document.currentScript?.previousElementSibling?.textContent;
if (data) enliven(JSON.parse(data), document);
