"""What an exported page weighs, asks for, and how soon it answers; prints JSON.

`python tests/benchmarks/pages.py` measures a page of one heatmap, of a recorded panel of 12
features at 9 strengths with 2 seeds of 40 tokens, of 20 widgets, and each of the notebooks through
`--to sae_html`, which is also compared with nbconvert's own page. Times are in seconds, from the
start of the navigation until the first key on a widget has changed it, in Chromium without a
network: the median of several loads.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from playwright.sync_api import Browser, sync_playwright

import sae_widgets as sw
from sae_widgets.share.exporter import SaeHTMLExporter

ROOT = Path(__file__).parents[2]
LOADS = 5
TEXT = "Ahoy, the sailor hauled the salty net by the lagoon."

# Presses keys, one a frame, on the first slider or heatmap, until it says another thing.
ANSWERS = """() => new Promise((done) => {
  let presses = 0;
  const attempt = () => {
    const slider = document.querySelector("[role=slider]:not([aria-disabled=true])");
    const control = slider ?? document.querySelector("[role=grid]");
    if (!control) return requestAnimationFrame(attempt);
    const said = () => (slider ? slider.getAttribute("aria-valuenow") : control.textContent);
    const before = said();
    const key = slider ? ["Home", "End"][presses % 2] : ["ArrowDown", "ArrowUp"][presses % 2];
    presses += 1;
    control.focus();
    control.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
    requestAnimationFrame(() => said() === before ? attempt() : done(performance.now() / 1000));
  };
  attempt();
})"""


def measured(browser: Browser, path: Path, own: int | None = None) -> dict[str, Any]:
    times, asked = [], []
    for _ in range(LOADS):
        context = browser.new_context(offline=True)
        page = context.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri(), wait_until="commit")
        times.append(round(page.evaluate(ANSWERS), 3))
        context.close()
    size = path.stat().st_size
    far = [url for url in asked if not url.startswith(("file:", "data:"))]
    return {
        "bytes": size,
        **({} if own is None else {"bytes over nbconvert's own": size - own}),
        "requests": len(far),
        "seconds until it answers": statistics.median(times),
    }


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="sae-widgets-") as folder:
        found = measure(Path(folder))
    load, cores = os.getloadavg()[0], os.cpu_count()
    json.dump({**found, "load": load, "cores": cores}, sys.stdout, indent=1)


def measure(folder: Path) -> dict[str, Any]:
    """What each page weighs and how soon it answers; they are written to `folder`."""
    session = sw.load_demo()
    labelled = [row["feature"] for row in session.steer("Felix hid", []).features][:12]
    strengths = [k / 4 for k in range(-4, 6) if k]
    panel = session.record(labelled, strengths, [0, 1], prompt="Felix hid", length=40)
    many = [session.heatmap(f"{TEXT} {number}") for number in range(10)]
    many += [session.steer("Felix hid", [session.recommended(each)]) for each in labelled[:10]]
    for widget in many[10:]:
        while not widget.settled():
            time.sleep(0.05)
    pages = {
        "one heatmap": (sw.save_html(session.heatmap(TEXT), folder / "heatmap.html"), None),
        "a recorded panel": (sw.save_html(panel, folder / "panel.html"), None),
        "20 widgets": (sw.save_html(many, folder / "many.html"), None),
    }
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, 4)
        own, _ = HTMLExporter().from_notebook_node(notebook)
        text, _ = SaeHTMLExporter().from_notebook_node(notebook)
        (page := folder / f"{path.stem}.html").write_text(text, encoding="utf-8")
        pages[path.name] = (page, len(own.encode()))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        found = {name: measured(browser, *page) for name, page in pages.items()}
        browser.close()
    return found


if __name__ == "__main__":
    main()
