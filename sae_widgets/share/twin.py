"""The twin of a live widget: a picture and words that stay in the notebook when it no longer lives.

They are outputs of their own, below the view's: JupyterLab shows of one output the view alone,
also where all it has to say is that there is no model. The words are the cell's, and never change
after it, so that nbval, which compares text, can execute the notebook again. The picture, which
nbval passes over, follows the widget. It is a PNG and nothing else: every viewer shows that,
GitHub's too, whatever it thinks of HTML.
"""

from __future__ import annotations

import base64
import html
import logging
import sys
import textwrap
import threading
import time
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

from sae_widgets.share.picture import Picture
from sae_widgets.share.recording import MARK
from sae_widgets.widgets.panel import Frame
from sae_widgets.widgets.worker import Check, Status, default_executor

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that a cell waits for what its widget shows first; the view is on screen meanwhile."""

# Where there are no threads, a pause would hold up everything else.
REST = 0.0 if sys.platform == "emscripten" else 1.0
"""Seconds without a change after which the picture is drawn again: never during a drag."""

OUTPUT = ".jp-OutputArea-child"  # in JupyterLab, Notebook 7, and the pages of nbconvert
STYLE = (
    ".sae-twin{font-size:12px;opacity:.75}"
    # A live view is followed by its twin's words and its picture: both are hidden.
    f"{OUTPUT}:has(.sae-root)+{OUTPUT}:has(.sae-twin),"
    f"{OUTPUT}:has(.sae-root)+{OUTPUT}:has(.sae-twin)+{OUTPUT}:has(img),"
    # So is a sentence in the place of a view, such as "model not found".
    f"{OUTPUT}:not(:has(>.jp-OutputArea-output>*)):has(+{OUTPUT} .sae-twin){{display:none}}"
)
SAYS = "A picture of the widget as it was last seen; run this cell to make it live."


def leave_twin(panel: Frame) -> None:
    """Put the twin of a widget that a notebook has just shown below it, and keep it up to date."""
    shell = get_ipython()
    if hasattr(shell, "kernel"):  # a terminal shows neither
        Twin(panel, shell)


class Twin:
    """The twin of one view of a widget."""

    def __init__(self, panel: Frame, shell: Any) -> None:
        self._panel = panel
        self._shell = shell
        self._names = [name for name in panel.keys if not name.startswith("_")]
        self._drawing = threading.Lock()
        self._stale = False
        self._later = default_executor(_report)
        end = time.monotonic() + PATIENCE
        while not panel.settled() and time.monotonic() < end:
            time.sleep(0.01)
        panel.observe(self._on_change, self._names)
        picture = Picture.of(panel)
        display(words_output(picture), metadata={MARK: "words"}, raw=True)  # type: ignore[no-untyped-call]
        data, metadata = picture_output(picture)
        self._shown = display(data, metadata=metadata, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        shell.events.register("post_run_cell", self._after_cell)
        panel.on_close(self._close)

    def _close(self) -> None:
        self._later.close()
        self._panel.unobserve(self._on_change, self._names)
        self._shell.events.unregister("post_run_cell", self._after_cell)

    def _on_change(self, _change: object) -> None:
        self._stale = True

        def job(check: Check) -> None:
            end = time.monotonic() + REST
            while time.monotonic() < end:
                check()
                time.sleep(0.05)
            self._panel.when_seen(self._draw)

        self._later.submit(0, job)

    def _after_cell(self, _result: object) -> None:
        """What a cell has changed is in the picture when the cell has ended: it may be the last."""
        self._panel.when_seen(self._draw)

    def _draw(self) -> None:
        """Draw again, if anything has changed; while something is written, the end of it will."""
        with self._drawing:
            if self._stale and self._panel.settled():
                self._stale = False
                data, metadata = picture_output(Picture.of(self._panel))
                self._shown.update(data, metadata=metadata, raw=True)


def words_output(picture: Picture) -> dict[str, str]:
    """The words of a twin as an output."""
    marked = (
        f'<style>{STYLE}</style><details class="sae-twin"><summary>{SAYS}</summary>'
        f"<p>When its cell had run: {html.escape(picture.words)}</p></details>"
    )
    plain = "\n".join((SAYS, *textwrap.wrap(f"When its cell had run: {picture.words}", 88)))
    return {"text/html": marked, "text/plain": plain}


def picture_output(picture: Picture) -> tuple[dict[str, str], dict[str, Any]]:
    """The picture of a twin as an output, and its metadata."""
    data = {
        "image/png": base64.b64encode(picture.png).decode(),
        "text/plain": "picture of the widget",
    }
    size = {"width": picture.width, "height": picture.height}
    return data, {MARK: "picture", "image/png": {**size, "alt": picture.words}}


def _report(status: Status) -> None:
    """A picture that cannot be drawn is no reason to disturb who is at work."""
    if status.state == "error":
        logger.error("the picture of a widget was not drawn: %s", status.detail)
