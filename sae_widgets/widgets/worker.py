"""Run a widget's jobs off the kernel's main thread, newest first and newest only."""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol, runtime_checkable

logger = logging.getLogger(__name__)

Check = Callable[[], None]
"""Called by a job wherever it can stop; raises `Cancelled` when nobody wants its result."""

Job = Callable[[Check], None]


class Cancelled(Exception):
    """The person has stopped this job."""


class Replaced(Cancelled):
    """A newer job has made this one's result unwanted."""


@dataclass(frozen=True)
class Status:
    """What became of the job `id`: one sentence for the screen, and the rest in `detail`."""

    id: int = 0
    state: Literal["idle", "working", "done", "stopped", "error"] = "idle"
    text: str = ""
    detail: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


Report = Callable[[Status], None]


@runtime_checkable
class Executor(Protocol):
    """Where a widget's jobs run."""

    def submit(self, id: int, job: Job) -> None:
        """Run `job` instead of whatever is running or waiting."""

    def stop(self, id: int) -> None:
        """End job `id` if it is the one running or waiting; any other id is ignored."""

    def close(self) -> None:
        """Take no more jobs, and end what runs."""


class Worker:
    """One daemon thread that always works on the newest job.

    A drag of a slider submits jobs faster than a model can run them. Only the newest matters, so
    `submit` replaces the waiting job and makes the running one's `check` raise. A job that was
    replaced reports nothing more: the screen already speaks of the next one.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._change = threading.Condition()
        self._waiting: tuple[int, Job] | None = None
        self._newest = 0  # counts submissions; ids come from outside and may repeat
        self._id = 0
        self._stopped = False
        self._closed = False
        self._thread: threading.Thread | None = None
        _workers.add(self)

    def submit(self, id: int, job: Job) -> None:
        with self._change:
            if self._closed:
                return
            self._waiting = (id, job)
            self._newest += 1
            self._id = id
            self._stopped = False
            self._change.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._loop, name="sae-widget", daemon=True)
                self._thread.start()

    def stop(self, id: int) -> None:
        with self._change:
            if id == self._id:
                self._stopped = True

    def close(self) -> None:
        with self._change:
            self._closed = True
            self._newest += 1  # what runs is replaced by nothing
            self._change.notify()

    def join(self) -> None:
        """Wait, not for ever, until what ran has noticed that it was closed."""
        if self._thread is not None:
            self._thread.join(GRACE)

    def _loop(self) -> None:
        while True:
            with self._change:
                while self._waiting is None and not self._closed:
                    self._change.wait()
                if self._closed or self._waiting is None:
                    return
                id, job = self._waiting
                self._waiting = None
                mine = self._newest

            def check(mine: int = mine) -> None:
                if self._newest != mine:
                    raise Replaced
                if self._stopped:
                    raise Cancelled

            def report(status: Status, mine: int = mine) -> None:
                if self._newest != mine:
                    return
                try:
                    self._report(status)
                except Exception:
                    # Somebody's own observer of the status: not a reason to end the thread.
                    logger.exception("a callback on a widget's status failed")

            _carry_out(id, job, check, report)


GRACE = 5.0
"""Seconds that the end of Python waits for a job to notice it."""

_workers: weakref.WeakSet[Worker] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """Python may not end while a thread is inside of torch: the process would abort."""
    workers = list(_workers)
    for worker in workers:
        worker.close()
    for worker in workers:
        worker.join()


class Inline:
    """Run each job at once, in the thread that submits it: for tests, and without threads."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def submit(self, id: int, job: Job) -> None:
        _carry_out(id, job, lambda: None, self._report)

    def stop(self, id: int) -> None:
        """Nothing to do: a job has ended before anybody can ask."""

    def close(self) -> None:
        """Nothing to do: there is no thread."""


def default_executor(report: Report) -> Executor:
    """A thread of its own; none on Pyodide, which has no threads."""
    return Inline(report) if sys.platform == "emscripten" else Worker(report)


def _carry_out(id: int, job: Job, check: Check, report: Report) -> None:
    start = time.perf_counter()
    report(Status(id, "working"))
    try:
        check()
        job(check)
    except Cancelled:
        report(Status(id, "stopped", "Stopped.", seconds=time.perf_counter() - start))
    except Exception as error:
        # An exception in a widget callback is shown nowhere by Jupyter: it must become text here.
        detail = "".join(traceback.format_exception(error))
        report(Status(id, "error", sentence(error), detail, time.perf_counter() - start))
    else:
        report(Status(id, "done", seconds=time.perf_counter() - start))


def sentence(error: BaseException) -> str:
    """What an error says, with its kind in front where the message alone would puzzle."""
    message = str(error).strip()
    if isinstance(error, ValueError) and message:
        return message
    return f"{type(error).__name__}: {message}" if message else type(error).__name__
