"""How long a person waits in a real JupyterLab; prints JSON.

`python tests/benchmarks/journey.py` measures, on the quickstart: from running all cells in a fresh
kernel to the first heatmap on screen; from a key press on the strength slider to the first change
of the steered text; and, of a drag of one second with sixty events, from the last event to the last
change of the KL strip. Times are in seconds; the second is given beside the time of one decode step
of the model, on the same machine in the same run.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from jupyter import Lab, server  # noqa: E402

PRESS = """async () => {
  const panel = document.querySelector(".sae-steering");
  const pane = panel.querySelectorAll(".sae-pane")[1];
  const slider = panel.querySelector("[role=slider]");
  const before = pane.innerText;
  slider.focus();
  const start = performance.now();
  const changed = new Promise((done) => {
    const watch = new MutationObserver(() => {
      // The old text stays, greyed, until the new run's first token.
      if (!pane.closest(".sae-old") && pane.innerText !== before) {
        watch.disconnect();
        done((performance.now() - start) / 1000);
      }
    });
    watch.observe(panel, { childList: true, subtree: true, characterData: true, attributes: true });
    setTimeout(() => { watch.disconnect(); done(null); }, 10_000);
  });
  slider.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", bubbles: true }));
  return await changed;
}"""

DRAG = """async () => {
  const panel = document.querySelector(".sae-steering");
  const slider = panel.querySelector("[role=slider]");
  const { left, top, width, height } = slider.getBoundingClientRect();
  const shades = () => [...panel.querySelectorAll(".sae-kl")].map((e) => e.style.cssText).join();
  let [last, now, seen, changes] = [0, 0, shades(), 0];
  const watch = new MutationObserver(() => {
    const next = shades();
    if (next !== seen && next !== "") { seen = next; last = performance.now(); changes += 1; }
  });
  watch.observe(panel, { childList: true, subtree: true, attributes: true });
  const move = (type, share) => slider.dispatchEvent(new PointerEvent(type, {
    bubbles: true, pointerId: 1, clientX: left + share * width, clientY: top + height / 2,
  }));
  slider.setPointerCapture = () => {};
  slider.hasPointerCapture = () => true;
  move("pointerdown", 0.6);
  for (let step = 0; step < 60; step++) {
    await new Promise((done) => setTimeout(done, 1000 / 60));
    move("pointermove", 0.6 + 0.3 * ((step * 7) % 60) / 60);
    now = performance.now();
  }
  move("pointerup", 0.85);
  await new Promise((done) => setTimeout(done, 3000));
  watch.disconnect();
  return [(last - now) / 1000, changes];
}"""

STEP = """
import time, statistics, torch
from sae_widgets.model import Reading
def one():
    reading = Reading(session.model)
    ids = torch.tensor([session._encode("Felix hid").ids] * 2)
    with torch.inference_mode():
        reading.advance(ids)
        start = time.perf_counter()
        for _ in range(16):
            reading.advance(ids[:, -1:])
    return (time.perf_counter() - start) / 16
print(statistics.median(one() for _ in range(5)))
"""


def main(runs: int = 3, presses: int = 12) -> None:
    folder = Path(tempfile.mkdtemp(prefix="sae-widgets-"))
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    names = [f"quickstart-{i}.ipynb" for i in range(runs)]
    for name in names:
        shutil.copy(ROOT / "notebooks" / "quickstart.ipynb", notebooks / name)
    with sync_playwright() as playwright, server(folder, notebooks) as address:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        starts = []
        for name in names:  # each with a page and a kernel of its own
            lab = Lab(browser, address)
            lab.open(name)
            lab.command("notebook:clear-all-cells-outputs")
            start = time.perf_counter()
            lab.run_all()
            lab.page.wait_for_selector(".sae-heatmap canvas", timeout=60_000)
            starts.append(time.perf_counter() - start)
            lab.page.wait_for_selector(".sae-steering .sae-ok", timeout=60_000)
            lab.wait_idle()
        moves = []
        for _ in range(presses):
            moves.append(lab.page.evaluate(PRESS))
            lab.page.wait_for_timeout(2500)
        drags = [lab.page.evaluate(DRAG) for _ in range(presses)]
        step = float(lab.python(STEP))
        browser.close()
    changed = [move for move in moves if move is not None]
    print(
        json.dumps(
            {
                "fresh kernel to first heatmap": starts,
                "slider to first steered token": {
                    "median": statistics.median(changed),
                    "all": moves,
                },
                "last event of a drag to the last change of the strip": {
                    "median": statistics.median(after for after, _ in drags),
                    "all": [after for after, _ in drags],
                    "changes of the strip": [changes for _, changes in drags],
                },
                "decode step of two rows": step,
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
