/** The frame around a widget: its theme, its keys, its pulse, and its status in words. */

import type { AnyModel } from "@anywidget/types";
import { type ComponentChildren, createContext } from "preact";
import { useContext, useRef } from "preact/hooks";
import type { Palette } from "../draw/score";
import type { PanelTraits, Status } from "../wire";
import { keepKeys, useKernel, usePalette } from "./host";

interface HostState {
  /** Whether the kernel answers. */
  alive: boolean;
  palette: Palette | null;
}

const Host = createContext<HostState>({ alive: true, palette: null });
export const useHost = (): HostState => useContext(Host);

export const SILENT =
  "No answer from the kernel: it is busy, or it was restarted. If it was restarted, run this cell again.";

interface Props<T extends PanelTraits> {
  model: AnyModel<T>;
  name: string;
  label: string;
  children: ComponentChildren;
}

export function Frame<T extends PanelTraits>({ model, name, label, children }: Props<T>) {
  const root = useRef<HTMLDivElement>(null);
  const palette = usePalette(root);
  const alive = useKernel(model, root);
  return (
    <section
      ref={root}
      class={`sae-root sae-${name}`}
      aria-label={label}
      data-alive={alive}
      onKeyDown={keepKeys}
    >
      <Host.Provider value={{ alive, palette }}>{children}</Host.Provider>
    </section>
  );
}

/** One sentence about what went wrong, and the rest in a drawer; or that the kernel is silent. */
export function Trouble({ status }: { status: Status }) {
  const { alive } = useHost();
  const broken = status.state === "error";
  return (
    <>
      {!alive && (
        <div class="sae-trouble" data-kind="silent" role="alert">
          {SILENT}
        </div>
      )}
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

/** Words for a screen reader, spoken when they change. */
export function Spoken({ text }: { text: string }) {
  return (
    <div class="sae-hidden" role="status" aria-live="polite">
      {text}
    </div>
  );
}
