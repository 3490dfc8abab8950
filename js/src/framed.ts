/** A page in a frame of a notebook: as high as what it shows, and in the notebook's colours. */

/** Of a notebook's style, what our own is made of: see `base.css`. */
export const LOOK = ["--jp-layout-color1", "--jp-ui-font-color1", "--jp-ui-font-family"] as const;

/** What the frame's page says to the notebook: how high it is, in pixels. */
export interface Height {
  kind: "sae-height";
  height: number;
}

/** What the notebook says to it: the values of `LOOK`, in that order. */
export interface Look {
  kind: "sae-look";
  values: string[];
}

/** Tell the notebook around this page its height, and take the notebook's look; alone, nothing. */
export function framed(page: Document): void {
  const view = page.defaultView;
  if (!view || view.parent === view || !page.body.hasAttribute("data-sae-framed")) return;
  const tell = () => {
    if (!page.querySelector(".sae-root")) return; // the notebook's picture says more
    const height = Math.ceil(page.body.getBoundingClientRect().height);
    view.parent.postMessage({ kind: "sae-height", height } satisfies Height, "*");
  };
  new ResizeObserver(tell).observe(page.body);
  view.addEventListener("message", ({ source, data }) => {
    if (source !== view.parent || data?.kind !== "sae-look" || !Array.isArray(data.values)) return;
    LOOK.forEach((name, i) => {
      page.documentElement.style.setProperty(name, String(data.values[i] ?? ""));
    });
  });
}
