/**
 * Below every widget in a notebook, after the words of its twin. Where no view is above them, and
 * the notebook is trusted (in others, Jupyter runs no script of an output), it shows the widget that
 * the twin's picture keeps, in a frame that can reach neither the notebook nor a network.
 *
 * Its text is the same below every widget, and small. What the frame runs is in the picture of one.
 */

import { type Height, LOOK, type Look } from "./framed";

const OUTPUT = ".jp-OutputArea-child";
/** Milliseconds that a live view has to come up in. */
const GRACE = 700;
/** The bytes before the first chunk of a PNG. */
const SIGNATURE = 8;
const MOST = 20_000;

interface Page {
  script: string;
  style: string;
}

/** The data of the chunks of a PNG that have one of our names, packed as they are. */
function chunks(picture: HTMLImageElement): Map<string, Uint8Array<ArrayBuffer>> {
  const found = new Map<string, Uint8Array<ArrayBuffer>>();
  const bytes = Uint8Array.from(atob(picture.src.split(",")[1] ?? ""), (c) => c.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  for (let at = SIGNATURE; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (name.startsWith("saE")) found.set(name, bytes.slice(at + 8, at + 8 + length));
    at += 12 + length;
  }
  return found;
}

const unpacked = (packed: Uint8Array<ArrayBuffer>): Promise<string> =>
  new Response(new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"))).text();

const pictures = (within: ParentNode): HTMLImageElement[] => [
  ...within.querySelectorAll<HTMLImageElement>('img[src^="data:image/png;base64,"]'),
];

/** The page's script, from whichever picture of the notebook has it. */
async function scriptOf(notebook: HTMLElement & { saePage?: Page }): Promise<Page | null> {
  if (notebook.saePage) return notebook.saePage; // its picture may be out of the page since
  for (const picture of pictures(notebook)) {
    const packed = chunks(picture).get("saEs");
    if (packed) {
      notebook.saePage = JSON.parse(await unpacked(packed));
      break;
    }
  }
  return notebook.saePage ?? null;
}

/** Show what is kept below `words`, if all that it takes is there. */
async function enliven(words: HTMLElement, output: Element): Promise<boolean> {
  const [picture] = output.nextElementSibling ? pictures(output.nextElementSibling) : [];
  const packed = picture && chunks(picture).get("saEv");
  const page = await scriptOf(words.closest<HTMLElement>(".jp-Notebook") ?? document.body);
  if (!packed || !page) return false;
  const data = await unpacked(packed);
  const frame = document.createElement("iframe");
  frame.title = "recorded widget";
  frame.setAttribute("sandbox", "allow-scripts");
  // Of another scheme than what is in it, browsers paint a frame white.
  frame.style.cssText = "display:block;width:100%;height:0;border:0;color-scheme:normal";
  const look = (): Look => {
    const style = getComputedStyle(frame);
    return { kind: "sae-look", values: LOOK.map((name) => style.getPropertyValue(name)) };
  };
  const tell = () => frame.contentWindow?.postMessage(look(), "*");
  addEventListener("message", ({ source, data }: MessageEvent<Height>) => {
    if (source !== frame.contentWindow || data?.kind !== "sae-height") return;
    // Before it has said so, it may be a frame in which nothing runs: the picture is there.
    if (frame.className === "") tell();
    frame.className = "sae-kept";
    frame.style.height = `${Math.min(Math.max(Number(data.height) || 0, 1), MOST)}px`;
  });
  const themes = new MutationObserver(() => setTimeout(tell, 100));
  themes.observe(document.body, { attributes: true });
  const rules = "default-src 'none';script-src 'unsafe-inline';style-src 'unsafe-inline'";
  frame.srcdoc =
    `<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${rules}">` +
    `<style>body{margin:0;display:flow-root}${page.style}</style><body data-sae-framed>` +
    '<div class="jupyter-widgets-disconnected" data-sae-view="0"></div>' +
    `<script type="application/json">${data}</script><script>${page.script}</script>`;
  words.after(frame);
  return true;
}

for (const words of document.querySelectorAll<HTMLElement>(".sae-twin:not([data-kept])")) {
  const output = words.closest(OUTPUT);
  if (!output) continue;
  words.dataset.kept = "";
  let seen = false;
  let waiting = false;
  const soon = async () => {
    if (waiting || !seen) return;
    waiting = true;
    await new Promise((done) => setTimeout(done, GRACE));
    // What makes no sense is not looked at again.
    const shown = words.getClientRects().length > 0; // not below a live view
    const done = shown && (await enliven(words, output).catch(() => true));
    if (done) {
      sight.disconnect();
      changes.disconnect();
    } else waiting = false;
  };
  const sight = new IntersectionObserver((entries) => {
    seen ||= entries.some((entry) => entry.isIntersecting);
    soon();
  });
  // Its picture, and the one with the script, may come later.
  const changes = new MutationObserver(soon);
  sight.observe(words);
  changes.observe(words.closest(".jp-Notebook") ?? document.body, {
    childList: true,
    subtree: true,
  });
}
