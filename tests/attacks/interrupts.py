"""Interrupt everything that runs a model, anywhere: is anything left behind in it?

    python tests/attacks/interrupts.py 2000 [seed]

Each time one of the calls below is made, a real SIGINT is raised at one of the steps (lines, calls,
returns) that Python makes in this package, in contextlib and in torch's modes; half of them where a
model is changed. Prints as JSON how often hooks, replaced forwards, a held lock, a mode of torch or
a signal handler were left, and how often the model then wrote something else than before.
"""

from __future__ import annotations

import gc
import json
import random
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import lock
from sae_widgets.model.bridge import network_of
from sae_widgets.training import trainer

PLACES = ("sae_widgets", "contextlib.py", "torch/autograd/grad_mode.py")
CHANGING = ("sae_widgets/model/", "contextlib.py", "grad_mode.py", "training/modes.py")
TEXT = "the sea and the ship"


class Clock:
    """Counts the steps that Python makes, and interrupts at one of them."""

    def __init__(self, at: int | None = None, *, changing: bool = False) -> None:
        self.steps = 0
        self._at = at
        self._places = CHANGING if changing else PLACES
        self._files: dict[str, bool] = {}

    def __call__(self, frame: FrameType, _event: str, _arg: Any) -> Any:
        file = frame.f_code.co_filename
        if file not in self._files:
            self._files[file] = any(place in file for place in self._places)
        if not self._files[file]:
            return None
        self.steps += 1
        if self.steps == self._at:
            signal.raise_signal(signal.SIGINT)
        return self


def run(act: Callable[[], Any], clock: Clock) -> BaseException | None:
    """The interrupt, if `act` was interrupted.

    Jupyter keeps it, too, and with it all that stood on the way.
    """
    sys.settrace(clock)
    try:
        act()
    except KeyboardInterrupt as interrupt:
        return interrupt
    finally:
        sys.settrace(None)
    return None


class Attacked:
    def __init__(self) -> None:
        self.model = tiny.gpt2(tiny.byte_level())
        self.sae = tiny.make_sae()
        self.session = sw.Session(self.model, self.sae, sample=None)
        self.edits = [sw.Add(5, 2.0, unit="raw")]
        self._hooks = self._hooked()
        self._wrote = self._writes()

    def calls(self) -> dict[str, Callable[[], Any]]:
        session, edits = self.session, self.edits
        recipe = sw.Recipe(tiny.HOOK, d_sae=32, steps=2, batch=8, buffer=64, context=16)
        return {
            "generate": lambda: session.generate(TEXT, edits, max_new_tokens=4),
            "features": lambda: session.features(TEXT),
            "effects": lambda: session.effects(TEXT, edits, prompt="the"),
            "sweep": lambda: session.sweep(TEXT, edits, max_new_tokens=3, factors=[0, 1]),
            "record": lambda: session.record([5], strengths=[1.0], prompt=TEXT, length=3).close(),
            "train": lambda: sw.train(self.model, [TEXT] * 50, recipe, progress=False),
            "steering": self._steers,
        }

    def _steers(self) -> None:
        with sw.steering(self.model, self.sae, self.edits):
            self.model(torch.tensor([[1, 2, 3]]))

    def _hooked(self) -> list[tuple[int, int]]:
        modules = [*self.model.modules(), *network_of(self.model).modules()]
        return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in modules]

    def _writes(self) -> str:
        return self.session.generate(TEXT, self.edits, max_new_tokens=3).text("steered")

    def left(self) -> list[str]:
        """What was left behind; it is put right, so that it is counted once."""
        found = []
        points = self.model.hook_dict.values()
        if any(point.fwd_hooks for point in points) or self._hooked() != self._hooks:
            found.append("hooks")
        if any("forward" in vars(block) for block in self.model.blocks):
            found.append("forwards")
        free: list[bool] = []
        for each in (lock(self.model), trainer._going_on):

            def ask(each: Any = each) -> None:
                free.append(each.acquire(timeout=1))
                if free[-1]:
                    each.release()

            asking = threading.Thread(target=ask)
            asking.start()
            asking.join()
        if not all(free):
            found.append("locks")
        if torch.is_inference_mode_enabled() or not torch.is_grad_enabled():
            found.append("modes")
            torch.set_grad_enabled(True)
        if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            found.append("handlers")
            signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            if self._writes() != self._wrote:
                found.append("other texts")
        except Exception as error:
            found.append(f"raises: {error!r}"[:200])
        return found


def main(times: int, seed: int) -> None:
    torch.set_num_threads(1)
    random.seed(seed)
    attacked = Attacked()
    calls = attacked.calls()
    steps = {}
    for name, act in calls.items():
        act()  # what is made once is there
        for changing in (False, True):
            clock = Clock(changing=changing)
            assert run(act, clock) is None
            steps[name, changing] = clock.steps
    assert attacked.left() == []
    interrupted: Counter[str] = Counter()
    left: Counter[str] = Counter()
    while sum(interrupted.values()) < times:
        name = random.choice([*calls])
        changing = random.random() < 0.5
        at = random.randrange(steps[name, changing]) + 1
        interrupt = run(calls[name], Clock(at, changing=changing))
        if interrupt is not None:
            interrupted[name] += 1
            for each in attacked.left():
                left[each] += 1
                print(f"{each} after {name} at {at} (changing: {changing})", file=sys.stderr)
                interrupt = None
                gc.collect()
    print(json.dumps({"interrupts": interrupted, "steps": max(steps.values()), "left": left}))


if __name__ == "__main__":
    main(*(int(each) for each in (*sys.argv[1:], *("2000", "0")[len(sys.argv) - 1 :])))
