/** The host's colours, for what is drawn on a canvas. */

import type { RefObject } from "preact";
import { useCallback, useRef, useState } from "preact/hooks";
import { ramp } from "../color";
import type { Palette } from "../draw/score";
import { theme, useLook } from "./host";

/** The host's colours as they are now; redrawn when the host changes its theme. */
export function usePalette(root: RefObject<HTMLElement>): Palette | null {
  const [palette, setPalette] = useState<Palette | null>(null);
  const last = useRef("");
  const look = useCallback((element: HTMLElement, style: CSSStyleDeclaration) => {
    const dark = theme(element, style);
    const value = (name: string) => style.getPropertyValue(`--sae-${name}`).trim();
    // A custom property may hold a formula; a canvas needs the colour that comes out of it.
    const probe = element.ownerDocument.createElement("i");
    element.append(probe);
    const color = (name: string) => {
      probe.style.color = `var(--sae-${name})`;
      return element.ownerDocument.defaultView?.getComputedStyle(probe).color ?? "";
    };
    const next = {
      page: style.backgroundColor,
      ink: color("ink"),
      soft: color("soft"),
      line: color("line"),
      well: color("well"),
      warm: color("warm"),
      accent: color("accent"),
      mono: value("mono"),
      prose: value("prose"),
    };
    probe.remove();
    const signature = JSON.stringify(next);
    if (signature === last.current) return; // the host's attributes change often, its theme rarely
    last.current = signature;
    setPalette({ ...next, ramp: ramp(next.well, dark) });
  }, []);
  useLook(root, look);
  return palette;
}
