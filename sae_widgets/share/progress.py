"""A line that says how far something is: an output of the cell, or a line of the terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

from IPython.core.getipython import get_ipython
from IPython.display import display

PAUSE = 0.2
"""Seconds between two words."""

BAR = 24


class Progress:
    """How far something is, beside what it is.

    It begins with what it is, and should end with that: of an output that changes, nbval sees how
    it began, and compares it with how it ended in the notebook.
    """

    def __init__(self) -> None:
        self._shown: Any = None
        self._last = 0.0
        self._wide = 0

    def __call__(self, text: str, share: float) -> None:
        now = time.monotonic()
        if self._shown is None and not self._wide:
            self._say(text)
        elif now - self._last >= PAUSE:
            self._last = now
            full = round(BAR * share)
            self._say(f"{'█' * full}{'░' * (BAR - full)} {text}")

    def end(self, text: str) -> None:
        self._say(text)
        if self._shown is None:
            sys.stderr.write("\n")

    def _say(self, text: str) -> None:
        data = {"text/plain": text}
        if self._shown is not None:
            self._shown.update(data, raw=True)
        elif hasattr(get_ipython(), "kernel"):
            self._shown = display(data, raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            sys.stderr.write(f"\r{text:{self._wide}}")
            sys.stderr.flush()
            self._wide = len(text)
