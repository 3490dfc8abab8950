/** What ties a widget to its host: the model's traits, the theme, the kernel's pulse. */

import type { AnyModel } from "@anywidget/types";
import type { RefObject } from "preact";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { isDark, parseColor } from "../color";

// biome-ignore lint/suspicious/noExplicitAny: the same bound as anywidget's own AnyModel
type Traits = Record<string, any>;

/** The value of one trait, kept up to date. */
export function useTrait<T extends Traits, K extends keyof T & string>(
  model: AnyModel<T>,
  name: K,
): T[K] {
  const [, redraw] = useState(0);
  useEffect(() => {
    const changed = () => redraw((n) => n + 1);
    model.on(`change:${name}`, changed);
    changed(); // it may have changed between the first drawing and now
    return () => model.off(`change:${name}`, changed);
  }, [model, name]);
  return model.get(name);
}

/**
 * What stands in a box whose text is a trait: what the person types, until someone else sets the
 * trait. What was sent from here must not come back over what has been typed since.
 */
export function useDraft(
  text: string,
): [draft: string, type: (text: string) => void, send: (text: string) => void] {
  const [draft, setDraft] = useState(text);
  const own = useRef(text);
  useEffect(() => {
    if (text === own.current) return;
    own.current = text;
    setDraft(text);
  }, [text]);
  const send = (sent: string) => {
    own.current = sent;
    setDraft(sent);
  };
  return [draft, setDraft, send];
}

/** Set several traits and send them in one message. */
export function save<T extends Traits>(model: AnyModel<T>, values: Partial<T>): void {
  for (const [name, value] of Object.entries(values)) model.set(name, value as T[string]);
  model.save_changes();
}

/** What the person is changing and the kernel does not know yet. */
export interface Pending<T extends Traits> {
  get: <K extends keyof T & string>(name: K) => T[K];
  put: (values: Partial<T>) => void;
  /** Set and send what was put, and `more`, in one message. */
  send: (more?: Partial<T>) => void;
  any: () => boolean;
}

/**
 * Changes that show at once and are set only when they are sent. Whatever is set and not yet sent,
 * Jupyter sets back as soon as the kernel echoes the message before.
 */
export function usePending<T extends Traits>(model: AnyModel<T>): Pending<T> {
  const [, redraw] = useState(0);
  return useMemo(() => {
    let values: Partial<T> = {};
    return {
      get: (name) => values[name] ?? model.get(name),
      put: (more) => {
        values = { ...values, ...more };
        redraw((n) => n + 1);
      },
      send: (more = {}) => {
        const all = { ...values, ...more };
        values = {};
        save(model, all);
      },
      any: () => Object.keys(values).length > 0,
    };
  }, [model]);
}

/** How long a kernel may take to answer, and how often it is asked: death shows in two seconds. */
const PATIENCE = 1500;
const BEAT = 500;
/** A person who has done nothing for so long is away; pings would keep the kernel from its rest. */
const AWAY = 10 * 60_000;
const SIGNS = ["pointermove", "pointerdown", "wheel", "keydown", "focus"] as const;

const NEWS = ["msg:custom", "change:status", "change:at"] as const;

/** What ipywidgets calls a view whose model has no connection to a kernel. */
export const DISCONNECTED = ".jupyter-widgets-disconnected";

export interface Pulse {
  /** Whether the kernel answers; believed until it has had its time. */
  alive: boolean;
  /** Whether anything was ever heard from it. */
  heard: boolean;
}

/** The kernel's pulse. Felt only while the widget can be seen and somebody is there. */
export function useKernel<T extends Traits>(
  model: AnyModel<T>,
  root: RefObject<HTMLElement>,
): Pulse {
  const [alive, setAlive] = useState(true);
  const [heard, setHeard] = useState(false);
  useEffect(() => {
    let id = 0;
    let waiting: number | null = null; // since when
    let seen = true;
    let active = performance.now(); // when somebody last did something
    const page = root.current?.ownerDocument;
    const view = page?.defaultView;
    const hear = () => {
      waiting = null;
      setAlive(true);
      setHeard(true);
    };
    const beat = () => {
      const now = performance.now();
      if (!seen || page?.visibilityState === "hidden" || now - active > AWAY) {
        waiting = null; // silence while nobody looked means nothing
        return;
      }
      if (waiting !== null && now - waiting >= PATIENCE - 50) setAlive(false);
      waiting ??= now;
      id += 1;
      try {
        model.send({ kind: "ping", id });
      } catch {
        // The connection is gone: the missing answer says so in a moment.
      }
    };
    const stir = () => {
      const away = performance.now() - active > AWAY;
      active = performance.now();
      if (away) beat();
    };
    const watch = new IntersectionObserver((entries) => {
      seen = entries.at(-1)?.isIntersecting ?? true;
    });
    if (root.current) watch.observe(root.current);
    for (const sign of SIGNS) view?.addEventListener(sign, stir, { capture: true, passive: true });
    // Tokens, a new status and a training's next step prove as much as the answer to a ping.
    for (const news of NEWS) model.on(news, hear);
    if (root.current?.closest(DISCONNECTED)) setAlive(false);
    beat();
    const timer = setInterval(beat, BEAT);
    return () => {
      clearInterval(timer);
      watch.disconnect();
      for (const sign of SIGNS) view?.removeEventListener(sign, stir, { capture: true });
      for (const news of NEWS) model.off(news, hear);
    };
  }, [model, root]);
  return { alive, heard };
}

/** Say on an element whether its page is dark; returns that. */
export function theme(element: HTMLElement, style: CSSStyleDeclaration): boolean {
  const dark = isDark(parseColor(style.backgroundColor) ?? [255, 255, 255]);
  element.dataset.theme = dark ? "dark" : "light";
  return dark;
}

/** Look at the style of `root` now, and again when the host may have changed its theme. */
export function useLook(
  root: RefObject<HTMLElement>,
  see: (element: HTMLElement, style: CSSStyleDeclaration) => void,
): void {
  const look = useCallback(() => {
    const element = root.current;
    const view = element?.ownerDocument.defaultView;
    if (element && view) see(element, view.getComputedStyle(element));
  }, [root, see]);
  useLayoutEffect(look, [look]);
  useEffect(() => {
    const page = root.current?.ownerDocument;
    const view = page?.defaultView;
    if (!page || !view) return;
    let frame = 0;
    const later = () => {
      view.cancelAnimationFrame(frame);
      frame = view.requestAnimationFrame(look);
    };
    const watch = new MutationObserver(later);
    const attributeFilter = [
      "class",
      "style",
      "data-theme",
      "data-jp-theme-light",
      "data-jp-theme-name",
      "data-vscode-theme-kind",
    ];
    for (const element of [page.documentElement, page.body]) {
      watch.observe(element, { attributes: true, attributeFilter });
    }
    const scheme = view.matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", later);
    // A theme's style sheet may arrive after its name has changed.
    const slow = setInterval(look, 2000);
    later();
    return () => {
      clearInterval(slow);
      view.cancelAnimationFrame(frame);
      watch.disconnect();
      scheme.removeEventListener("change", later);
    };
  }, [root, look]);
}

/** Seconds since `since` (in `performance.now()` time), counted while it is not null. */
export function useElapsed(since: number | null): number {
  const [now, setNow] = useState(0);
  useEffect(() => {
    if (since === null) return;
    const tick = () => setNow(performance.now());
    tick();
    const timer = setInterval(tick, 100);
    return () => clearInterval(timer);
  }, [since]);
  return since === null ? 0 : Math.max(0, (now - since) / 1000);
}

/**
 * `act` at once, then at most every `pause` ms while calls keep coming, and once more after the
 * last: the newest arguments always arrive.
 */
export function throttle<A extends unknown[]>(
  act: (...args: A) => void,
  pause: number,
): { call: (...args: A) => void; cancel: () => void } {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let waiting: A | null = null;
  const fire = () => {
    timer = null;
    if (!waiting) return;
    const args = waiting;
    waiting = null;
    timer = setTimeout(fire, pause);
    act(...args);
  };
  return {
    call: (...args: A) => {
      waiting = args;
      if (timer === null) fire();
    },
    cancel: () => {
      if (timer !== null) clearTimeout(timer);
      timer = null;
      waiting = null;
    },
  };
}

/** Keys typed in a widget are not the notebook's: `a`, `b`, `dd` would edit its cells. */
export function keepKeys(event: KeyboardEvent): void {
  if (event.key !== "Escape" && !event.ctrlKey && !event.metaKey) event.stopPropagation();
}
