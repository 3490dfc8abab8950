/** The frame around a widget: its theme, its keys, its pulse, and its status in words. */

import type { AnyModel, RenderProps } from "@anywidget/types";
import {
  type ComponentChildren,
  type ComponentType,
  createContext,
  type RefObject,
  render,
} from "preact";
import { useContext, useRef } from "preact/hooks";
import type { FrameTraits, Status } from "../wire";
import { DISCONNECTED, keepKeys, type Pulse, theme, useKernel, useLook } from "./host";

interface HostState extends Pulse {
  /** There was never a kernel behind this view: it shows what was saved. */
  recorded: boolean;
  /** Why nothing can be asked of the kernel; null while it answers. */
  why: string | null;
  root: RefObject<HTMLElement>;
}

const Host = createContext<HostState>({
  alive: true,
  heard: false,
  recorded: false,
  why: null,
  root: { current: null },
});
export const useHost = (): HostState => useContext(Host);

const RECORDED =
  "Recorded: there is no kernel behind this view. In a notebook, run the cell to make it live.";
const SILENT =
  "No answer from the kernel: it is busy, or it was restarted. If it was restarted, run this cell again.";

/** A widget as anywidget loads it: `View` in a frame. */
export function widget<T extends FrameTraits>(
  name: string,
  label: string,
  View: ComponentType<{ model: AnyModel<T> }>,
) {
  return {
    render({ model, el }: RenderProps<T>) {
      render(
        <Frame model={model} name={name} label={label}>
          <View model={model} />
        </Frame>,
        el,
      );
      return () => {
        render(null, el);
        try {
          // The kernel keeps what the notebook needs where there still is a view.
          model.send({ kind: "gone" });
        } catch {
          // So has the connection.
        }
      };
    },
  };
}

interface Props<T extends FrameTraits> {
  model: AnyModel<T>;
  name: string;
  label: string;
  children: ComponentChildren;
}

function Frame<T extends FrameTraits>({ model, name, label, children }: Props<T>) {
  const root = useRef<HTMLDivElement>(null);
  useLook(root, theme);
  const { alive, heard } = useKernel(model, root);
  // A kernel that is busy from the start is not heard either; ipywidgets knows whether there is one.
  const recorded = !alive && !heard && root.current?.closest(DISCONNECTED) != null;
  const why = alive ? null : recorded ? RECORDED : SILENT;
  return (
    <section
      ref={root}
      class={`sae-root sae-${name}`}
      aria-label={label}
      data-alive={alive}
      onKeyDown={keepKeys}
    >
      <Host.Provider value={{ alive, heard, recorded, why, root }}>{children}</Host.Provider>
    </section>
  );
}

/** What went wrong, and the rest in a drawer; or that there is no kernel, and `more` on what is. */
export function Trouble({ status, more = "" }: { status: Status; more?: string }) {
  const { recorded, why } = useHost();
  const broken = status.state === "error";
  return (
    <>
      {why !== null &&
        (recorded ? (
          <div class="sae-note" role="status">
            {why} {more}
          </div>
        ) : (
          <div class="sae-trouble" data-kind="silent" role="alert">
            {why}
          </div>
        ))}
      {broken && (
        <div class="sae-trouble" data-kind="error" role="alert">
          <span>{status.text}</span>
          {status.detail && (
            <details>
              <summary>details</summary>
              <pre class="sae-mono">{status.detail}</pre>
            </details>
          )}
        </div>
      )}
    </>
  );
}

/** Controls that do nothing where there is no kernel. */
export function Locked({ children }: { children: ComponentChildren }) {
  const { recorded, why } = useHost();
  return (
    <fieldset class="sae-all" disabled={recorded} title={(recorded && why) || undefined}>
      {children}
    </fieldset>
  );
}

/** Words for a screen reader, spoken when they change. */
export function Spoken({ text }: { text: string }) {
  return (
    <div class="sae-hidden" role="status" aria-live="polite">
      {text}
    </div>
  );
}
