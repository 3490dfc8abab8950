"""Run a notebook in a real Jupyter with its default settings, save it, and open it again.

    python tests/browser/reopening.py 20

does so with the notebook that records (`notebooks/share.ipynb`), twenty times in JupyterLab and
twenty in Notebook 7, in windows of all heights and while the machine is busy, and prints as JSON
how often the recorded slider worked.
"""

from __future__ import annotations

import base64
import contextlib
import json
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from jupyter import Lab, server
from playwright.sync_api import Error, FrameLocator, Locator, Page, expect

from sae_widgets.share.kept import view_in
from sae_widgets.share.recording import Recorded
from sae_widgets.widgets.recording import Recording

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "share.ipynb"
HEIGHTS = (300, 700, 1000, 1400)
PLACES = {"JupyterLab": "lab/tree", "Notebook 7": "notebooks"}


def run_and_save(browser: Any, address: str, name: str) -> None:
    """As its author does, with the settings that Jupyter comes with."""
    lab = Lab(browser, address)
    lab.open(name)
    lab.page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
    lab.wait_idle()
    lab.page.evaluate(
        """async () => {
            await window.jupyterapp.commands.execute("docmanager:save");
            await window.jupyterapp.shell.currentWidget.sessionContext.shutdown();
        }"""
    )
    lab.page.close()


def kept_in(path: Path) -> list[Recorded]:
    """The widgets that the pictures of a notebook keep, in their order."""
    pictures = (
        output["data"].get("image/png")
        for cell in nbformat.read(path, 4).cells
        for output in cell.get("outputs", ())
        if "data" in output
    )
    found = (view_in(base64.b64decode(picture)) for picture in pictures if picture)
    return [each for each in found if each is not None]


def recording_in(path: Path) -> Recording:
    """The first that a notebook's pictures keep."""
    saved = next(each.traits for each in kept_in(path) if each.traits.get("recorded"))
    return Recording.unpack(saved["recorded"], saved["numbers"])


@contextlib.contextmanager
def reopened(
    browser: Any, address: str, name: str, *, height: int, place: str = "lab/tree"
) -> Iterator[Page]:
    """The page of a notebook of which no cell is run, in a window of this height."""
    page = browser.new_page(viewport={"width": 1400, "height": height})
    try:
        page.goto(f"{address}/{place}/{name}?reset")
        page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=60_000)
        yield page
    finally:
        page.close()


def kept_panel(page: Page, seconds: float = 60) -> FrameLocator:
    """The frame of the first steering panel that is there; scrolls down to it as a reader does."""
    end = time.monotonic() + seconds
    frames = page.locator("iframe.sae-kept")
    page.locator(".jp-Notebook").first.hover()
    while True:
        for i in range(frames.count()):
            frame = frames.nth(i).content_frame
            if frame.locator(".sae-steering").count():
                frames.nth(i).scroll_into_view_if_needed()
                return frame
        if time.monotonic() > end:
            raise AssertionError(f"no kept panel after {seconds} s; {frames.count()} other frames")
        page.mouse.wheel(0, 250)
        page.wait_for_timeout(200)


def check_slider(panel: FrameLocator | Locator, told: Recording) -> None:
    """Its slider moves to both ends, and the panes show what was recorded there."""
    expect(panel.locator(".sae-note").first).to_contain_text(
        "Sliders with ticks still work", timeout=30_000
    )
    slider, steered = panel.get_by_role("slider").first, panel.locator(".sae-pane p").nth(1)
    shown = []
    for key in ("Home", "End"):
        slider.press(key)
        shown.append(steered.inner_text(timeout=10_000))
    texts = {told.prompt + "".join(arm.tokens) for take in told.takes for arm in take.arms}
    assert shown[0] != shown[1], shown
    assert set(shown) <= texts, shown
    expect(panel.locator(".sae-foot .sae-badge")).to_have_text("recorded")


def busy(until: Any) -> None:
    while not until.is_set():
        sum(range(100_000))


def main(times: int) -> None:
    from playwright.sync_api import sync_playwright

    counts = dict.fromkeys(PLACES, 0)
    troubles: list[str] = []
    end = multiprocessing.Event()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        notebooks = Path(folder) / "notebooks"
        notebooks.mkdir()
        shutil.copy(NOTEBOOK, notebooks / "share.ipynb")
        found = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        with server(Path(folder), notebooks) as address:
            run_and_save(browser, address, "share.ipynb")
            told = recording_in(notebooks / "share.ipynb")
            load = multiprocessing.Process(target=busy, args=(end,), daemon=True)
            load.start()
            for i in range(times):
                for name, place in PLACES.items():
                    height = HEIGHTS[i % len(HEIGHTS)]
                    try:
                        with reopened(
                            browser, address, "share.ipynb", height=height, place=place
                        ) as page:
                            check_slider(kept_panel(page), told)
                        counts[name] += 1
                    except (AssertionError, Error) as error:
                        troubles.append(f"{name}, {height} px: {str(error)[:300]}")
            end.set()
        browser.close()
    print(json.dumps({"asked": times, "worked": counts, "troubles": troubles}, indent=1))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
