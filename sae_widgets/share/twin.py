"""The twin of a live widget: what stays in the notebook when it no longer lives.

That is words and a picture. They are outputs of their own, below the view's: JupyterLab shows of
one output the view alone, also where all it has to say is that there is no model. The words are the
cell's, and never change after it, so that nbval, which compares text, can execute the notebook
again. The picture, which nbval passes over, follows the widget. It is a PNG and nothing else: every
viewer shows that, GitHub's too, whatever it thinks of HTML.

The picture keeps the widget itself, too (`kept.py`), and the words end in a script. In a notebook
that is trusted, and where no live view is above them, the script puts what the picture keeps in
the place of both: the widget as it was, in a frame that can reach nothing.
"""

from __future__ import annotations

import base64
import html
import logging
import sys
import textwrap
import threading
import time
from typing import Any, ClassVar

from IPython.core.getipython import get_ipython
from IPython.display import display

from sae_widgets.share.kept import with_view
from sae_widgets.share.picture import Picture
from sae_widgets.share.recording import MARK, STATIC, Recorded
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
    # A kept one is in the words' output, and takes the place of both.
    ".sae-twin:has(+.sae-kept),"
    f"{OUTPUT}:has(.sae-kept)+{OUTPUT}:has(img),"
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
    """The twin of one view of a widget.

    The first widget of a kernel is the carrier: its picture has the script for the others'. One
    whose view has gone, or of which nobody would hear that, goes behind the others.
    """

    _all: ClassVar[list[Twin]] = []

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
        # Kernels other than ipykernel may not say who asked them.
        asked: Any = getattr(shell, "get_parent", dict)()
        self._page = asked.get("header", {}).get("session")
        self._left = False  # whether cells are run from another page since: this may be closed
        self._shown: Any = None
        words = words_output(Picture.of(panel))
        self._join()
        display(words, metadata={MARK: "words"}, raw=True)  # type: ignore[no-untyped-call]
        data, metadata = self._output()
        self._shown = display(data, metadata=metadata, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        shell.events.register("post_run_cell", self._after_cell)
        panel.on_gone(self._on_gone)
        panel.on_close(self._close)

    def _output(self) -> tuple[dict[str, str], dict[str, Any]]:
        return picture_output(self._panel, carrier=self in self._carriers())

    def _carriers(self) -> list[Twin]:
        """All twins of the first widget: one view of two may have gone, and nobody says which."""
        return [twin for twin in self._all if twin._panel is self._all[0]._panel]

    def _join(self) -> None:
        before = self._carriers()
        for twin in self._all:
            twin._left |= twin._page != self._page
        self._all.append(self)
        self._order(before)

    def _on_gone(self) -> None:
        before = self._carriers()
        self._all.remove(self)
        self._all.append(self)
        self._order(before)

    def _order(self, before: list[Twin]) -> None:
        """Put those that are there first; a carrier that was none is drawn again."""
        self._all.sort(key=lambda twin: twin._panel.gone or twin._left)
        for twin in self._carriers():
            if twin not in before and twin._shown is not None:
                twin._carry()

    def _carry(self) -> None:
        """Draw the picture with the script, seen or not: the notebook may be saved any moment."""
        self._stale = True
        self._later.submit(0, lambda _check: self._draw())

    def _close(self) -> None:
        self._on_gone()
        self._all.remove(self)
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
                data, metadata = self._output()
                self._shown.update(data, metadata=metadata, raw=True)


def words_output(picture: Picture) -> dict[str, str]:
    """The words of a twin as an output."""
    marked = (
        f'<style>{STYLE}</style><details class="sae-twin"><summary>{SAYS}</summary>'
        f"<p>When its cell had run: {html.escape(picture.words)}</p></details>"
        f"<script>{(STATIC / 'kept.js').read_text(encoding='utf-8')}</script>"
    )
    plain = "\n".join((SAYS, *textwrap.wrap(f"When its cell had run: {picture.words}", 88)))
    return {"text/html": marked, "text/plain": plain}


def picture_output(panel: Frame, *, carrier: bool) -> tuple[dict[str, str], dict[str, Any]]:
    """The picture of a twin as an output, and its metadata; see `with_view` for a carrier."""
    picture = Picture.of(panel)
    widget = Recorded.of(panel.get_state())
    # A class of somebody's own is not in the script.
    png = picture.png if widget is None else with_view(picture.png, widget, carrier=carrier)
    data = {"image/png": base64.b64encode(png).decode(), "text/plain": "picture of the widget"}
    size = {"width": picture.width, "height": picture.height}
    return data, {MARK: "picture", "image/png": {**size, "alt": picture.words}}


def _report(status: Status) -> None:
    """A picture that cannot be drawn is no reason to disturb who is at work."""
    if status.state == "error":
        logger.error("the picture of a widget was not drawn: %s", status.detail)
