"""Let an interrupt wait while something is changed that has to be put back.

Ctrl-C, or Jupyter's stop button, raises a KeyboardInterrupt between any two steps of Python: also
between adding a hook to a model and taking note of it, or on the way into the code that removes it.
What such a block has changed is then changed for good, and every later pass of the model is wrong.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import wraps
from types import CodeType, FrameType, TracebackType
from typing import Any, ParamSpec

P = ParamSpec("P")


def restoring(block: Callable[P, Iterator[None]]) -> Callable[P, Restoring]:
    """As `contextlib.contextmanager`, for what changes something and puts it back.

    In the block an interrupt arrives at once; on the way into it and out of it, when that is done.
    """
    make = contextmanager(block)

    @wraps(block)
    def made(*args: P.args, **kwargs: P.kwargs) -> Restoring:
        return Restoring(make(*args, **kwargs))

    return made


class Restoring:
    """A block whose beginning and end no interrupt divides."""

    def __init__(self, inner: AbstractContextManager[None]) -> None:
        self._inner = inner

    def __enter__(self) -> None:
        _listener.begin()
        try:
            self._inner.__enter__()
        except BaseException:
            _listener.end()
            raise
        try:
            _listener.arrive()
        except BaseException:  # then nobody leaves this block
            _listener.leave()
            self._inner.__exit__(*sys.exc_info())
            _listener.end()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> bool | None:
        _listener.leave()
        try:
            ends = self._inner.__exit__(kind, error, where)
        finally:
            _listener.end()
        return ends


class _Listener:
    """What hears interrupts while a `Restoring` block runs in the main thread, as no other does.

    It is told where the program is, and so knows the ways in and out from first step to last.
    """

    def __init__(self) -> None:
        self._waiting = False
        self._blocks = 0  # which have begun and not ended
        self._ways = 0  # on how many ways into them and out of them the program is
        self._before: Any = None

    def begin(self) -> None:
        """A way into a block begins."""
        if not _in_main_thread():
            return
        if self._blocks == 0:
            before = signal.getsignal(signal.SIGINT)
            if callable(before):  # else nobody is interrupted, or not by Python
                self._before, self._waiting, self._ways = before, False, 0
                signal.signal(signal.SIGINT, self)
        self._blocks += 1
        self._ways += 1

    def arrive(self) -> None:
        """The way into a block ends."""
        if _in_main_thread():
            self._ways -= 1
            self._deliver()

    def leave(self) -> None:
        """The way out of a block begins."""
        if _in_main_thread():
            self._ways += 1

    def end(self) -> None:
        """The way out of a block ends."""
        if not _in_main_thread():
            return
        self._blocks -= 1
        self._ways -= 1
        hears: Any = signal.getsignal(signal.SIGINT)
        if self._blocks == 0 and hears is self:
            signal.signal(signal.SIGINT, self._before)
        self._deliver()

    def _deliver(self) -> None:
        """Let an interrupt that has waited arrive, if no way goes on."""
        if self._waiting and self._ways == 0:
            self._waiting = False
            self._before(signal.SIGINT, None)

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if _on_a_way(frame):
            self._waiting = True
        else:
            self._before(number, frame)


_listener = _Listener()
_WAYS: frozenset[CodeType] = frozenset(
    way.__code__ for way in (Restoring.__enter__, Restoring.__exit__)
)


def _on_a_way(frame: FrameType | None) -> bool:
    """Whether the program is on its way into or out of a block."""
    while frame is not None:
        if frame.f_code in _WAYS:
            return True
        frame = frame.f_back
    return False


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
