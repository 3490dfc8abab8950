"""Training: the figures of a run while it goes on, and a hand on it."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import traitlets

from sae_widgets.widgets.panel import Frame, bundle, plain
from sae_widgets.widgets.worker import (
    Cancelled,
    Check,
    Executor,
    Report,
    Status,
    default_executor,
)

FIGURES = ("step", "loss", "fvu", "l0", "dead", "learning_rate", "grad_norm")
"""What is kept of each line of the log, in the order in which the browser gets it."""

BINS = 13
"""Features that never fire, and those of each half power of ten from 10^-6 to 1."""

MOST = 200
"""Lines that are kept: more than a chart has pixels for. Of older ones every second goes."""

BEAT = 0.25
"""Seconds between two messages to the browser, at least."""

OVER = ("done", "stopped", "failed")
"""The states in which a run does not go on."""

Order = Literal["go on", "save", "stop"]


class Training(Frame):
    """The figures of a training run while it goes on, with pause, stop and "save now".

    `train(widget)` carries the run out, on a thread of its own, so that the kernel stays free; it
    tells the widget of each line of the log (`add`) and of each step, and does what it is then
    told (`after`). `run` is what is known of the run beforehand: {"steps", "batch", "folder",
    "saes"}, of each SAE that it trains {"name", "hook", "d_sae", "target"}, where d_sae, the L0
    that is aimed at, and the folder for checkpoints may be None; what `say` is told becomes its
    "notes". Of several SAEs, which learn from the same tokens, `sae` is the name of the one whose
    figures stand in words.
    """

    _esm = bundle("training.js")
    _css = bundle("training.css")

    # The kernel's.
    run = traitlets.Dict().tag(sync=True)
    # {"state", "step", "seconds" so far, "left" in seconds or None, "saved": the step of the newest
    # checkpoint or None, "saves": how many of those that were asked for are dealt with}
    at = traitlets.Dict().tag(sync=True)
    figures = traitlets.Bytes(b"").tag(sync=True)  # float32, little-endian, [line, SAE, figure]
    densities = traitlets.Bytes(b"").tag(sync=True)  # uint32, [line, SAE, bin]
    # The user's.
    sae = traitlets.Unicode("").tag(sync=True)
    paused = traitlets.Bool(False).tag(sync=True)
    ended = traitlets.Bool(False).tag(sync=True)  # stop, with the SAE so far if there is one
    saves = traitlets.Int(0).tag(sync=True)  # counts how often a checkpoint was asked for

    def __init__(
        self,
        train: Callable[[Training], Any],
        run: Mapping[str, Any],
        *,
        worker: Callable[[Report], Executor] = default_executor,
        **traits: Any,
    ) -> None:
        self._lines: list[dict[str, Any]] = []
        self._step = self._begun = 0  # of the run, and where this part of it began
        self._saved: int | None = None
        self._granted = 0  # of `saves`
        self._spent = 0.0  # seconds of training, without pauses
        self._since: float | None = None
        self._told = -BEAT
        self._change = threading.Condition()
        self._over = threading.Event()
        self._alone = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._check: Check = lambda: None
        run = plain(dict(run))
        super().__init__(worker, run=run, **{"sae": run["saes"][0]["name"], **traits})
        self._tell("starting")
        self.observe(self._on_wish, ["paused", "ended", "saves"])
        self.on_close(self._abandon)

        def job(check: Check) -> None:
            self._check = check
            try:
                self._result = train(self)
                stopped = self.ended and self._step < self.run["steps"]
                self._tell("stopped" if stopped else "done")
            except Cancelled as error:
                early = RuntimeError(
                    "this training was stopped before it made a step, so that nothing was trained"
                )
                self._error = error if self._step else early
                self._tell("stopped")
                raise
            except BaseException as error:
                _let_go(error)
                self._error = error
                self._tell("failed")
                raise
            finally:
                if self._alone:
                    self._over.set()

        self._executor.submit(1, job)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What is drawn: for some steps, in their order, the figures that the log has.

        Of several SAEs each figure stands under the name of its own, as in "mine/fvu".
        """
        starts = beginnings([each["name"] for each in self.run["saes"]])
        names = [start + figure for start in starts for figure in (*FIGURES[1:], "densities")]
        return [
            {"step": line["step"], **{name: line[name] for name in names if name in line}}
            for line in self._lines
        ]

    @traitlets.validate("sae")
    def _is_trained(self, proposal: Mapping[str, Any]) -> str:
        names = [each["name"] for each in self.run["saes"]]
        if proposal["value"] not in names:
            raise traitlets.TraitError(
                f"this training has no SAE {proposal['value']!r}; it has {', '.join(names)}"
            )
        return str(proposal["value"])

    @traitlets.validate("saves")
    def _can_save(self, proposal: Mapping[str, Any]) -> int:
        if self.run.get("folder") is None:
            raise traitlets.TraitError(
                "this training has no folder to keep a checkpoint in; begin it with folder=..."
            )
        return int(proposal["value"])

    def result(self) -> Any:
        """What was trained, once it is: waits for it. Raises what ended the training early.

        While a cell waits here, a kernel that hears messages only between cells does not hear the
        buttons, nor does one that got this cell before the widget was on screen. Interrupting it
        ends the waiting and not the training.
        """
        self.wait()
        if self._error is not None:
            raise self._error
        return self._result

    def wait(self) -> None:
        """Return when the training is over, well or not."""
        while not self._over.wait(0.2):  # an endless wait could not be interrupted everywhere
            continue

    @property
    def over(self) -> bool:
        """Whether the training goes on no more."""
        return self._over.is_set()

    # What who trains tells the widget, on the thread that trains.

    def begin(self, step: int, lines: Sequence[Mapping[str, Any]], **known: Any) -> None:
        """Training begins after `step` steps, which gave these lines of the log.

        known: what has become known of the run.
        """
        self.run = plain({**self.run, **known})
        self._step = self._begun = step
        self._saved = step or None
        self._lines = []
        for line in lines:
            self.add(line)
        self._since = time.monotonic()
        self._tell("training")

    def add(self, line: Mapping[str, Any]) -> None:
        """A line of the log; one without a loss is none."""
        if "loss" not in line:
            return
        self._lines.append(dict(line))
        if len(self._lines) > MOST:
            self._lines = thinned(self._lines)

    def after(self, step: int) -> Order:
        """What is to be done after a step. Returns when the person lets it, at once as a rule."""
        self._step = step
        if time.monotonic() - self._told >= BEAT:
            self._tell("training")
        with self._change:
            while True:
                if self.ended:
                    self._halt()
                    self._tell("finishing")
                    return "stop"
                self.check()
                if self.saves > self._granted:
                    self._granted = self.saves
                    if self._saved != step:
                        return "save"
                    self._tell("paused" if self.paused else "training")
                if not self.paused:
                    break
                self._halt()
                if self.at["state"] != "paused":
                    self._tell("paused")
                self._change.wait(0.2)
        if self._since is None:
            self._since = time.monotonic()
            self._tell("training")
        if step >= self.run["steps"]:
            self._tell("finishing")
        return "go on"

    def check(self) -> None:
        """Raise if Python itself ends, or if the training is to end and no step was made yet.

        Who closed the widget may still want what is trained.
        """
        if not self._alone:
            self._check()
        if self.ended and self._step == 0:
            raise Cancelled

    def say(self, note: str) -> None:
        """Something that the person should know stands in the widget from now on."""
        self.run = {**self.run, "notes": [*self.run.get("notes", ()), note]}

    def kept(self, step: int) -> None:
        """A checkpoint was written."""
        self._saved = step
        over = self.ended or step >= self.run["steps"]
        self._tell("finishing" if over else "paused" if self.paused else "training")

    # Helpers

    def _on_wish(self, _change: object) -> None:
        with self._change:
            self._change.notify_all()

    def _abandon(self) -> None:
        """Nobody watches any more: end at the next step."""
        self._alone = self.ended = True
        if self.at["state"] in OVER:
            self._over.set()

    def _show_status(self, status: Status) -> None:
        super()._show_status(status)
        if status.state != "working":
            # Not before: a cell that waited may be the last, and what it leaves is what is saved.
            self._over.set()

    def _halt(self) -> None:
        """Stop the clock."""
        self._spent = self._seconds()
        self._since = None

    def _seconds(self) -> float:
        return self._spent + (0.0 if self._since is None else time.monotonic() - self._since)

    def _tell(self, state: str) -> None:
        """Let the browser know how things are."""
        self._told = time.monotonic()
        made, seconds, steps = self._step - self._begun, self._seconds(), self.run["steps"]
        # Of the first steps the time says little: they wait for the first activations.
        left = None if made < steps / 20 else (steps - self._step) * seconds / max(1, made)
        starts = beginnings([each["name"] for each in self.run["saes"]])
        each = [(line, start) for line in self._lines for start in starts]
        with self.hold_sync():
            self.figures = np.array([figures_of(*one) for one in each], "<f4").tobytes()
            self.densities = np.array([densities_of(*one) for one in each], "<u4").tobytes()
            self.at = {
                "state": state,
                "step": self._step,
                "seconds": round(seconds, 2),
                "left": None if left is None else round(left, 1),
                "saved": self._saved,
                "saves": self._granted,
            }

    def __repr__(self) -> str:
        names = ", ".join(repr(each["name"]) for each in self.run["saes"])
        return f"Training({names}, {self.run['steps']} steps)"


def _let_go(error: BaseException | None) -> None:
    """Empty the frames that an error went through: they hold whole models, which it outlives."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # `raise error from error` is a ring
        seen.add(id(error))
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def beginnings(names: Sequence[str]) -> list[str]:
    """How the log begins the figures of each SAE: not at all where there is only one."""
    return [""] if len(names) == 1 else [f"{name}/" for name in names]


def figures_of(line: Mapping[str, Any], start: str) -> list[float]:
    """Those of one SAE in a line of the log."""
    return [line["step"], *(float(line.get(start + name, np.nan)) for name in FIGURES[1:])]


def densities_of(line: Mapping[str, Any], start: str) -> list[int]:
    """How many features of one SAE fired how often."""
    return [*line.get(start + "densities", ()), *[0] * BINS][:BINS]


def thinned(lines: list[Any]) -> list[Any]:
    """Every second of some lines, the newest among them."""
    return lines[::-2][::-1]
