"""Schedules: how much of an edit is done at each token, from none (0) to all of it (1) and beyond.

Tokens are counted from the first at which the edit may act: of the text, of what is written, or of
the span.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Ramp:
    """Nothing at first, all after `over` tokens, evenly in between."""

    over: int
    kind: ClassVar[str] = "ramp"

    def __post_init__(self) -> None:
        _at_least_one(self, over=self.over)

    def at(self, t: Int[Tensor, " position"]) -> Float[Tensor, " position"]:
        return (t / self.over).clamp(0, 1)


@dataclass(frozen=True)
class Decay:
    """All at first, half of it after `half` tokens, a quarter after twice as many."""

    half: float
    kind: ClassVar[str] = "decay"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.half) and self.half > 0):
            raise ValueError(f"the half-life of a decay is above 0 tokens; got {self.half}")

    def at(self, t: Int[Tensor, " position"]) -> Float[Tensor, " position"]:
        return 0.5 ** (t.clamp(min=0) / self.half)


@dataclass(frozen=True)
class Pulse:
    """All for `width` tokens of every `every`, and nothing in between."""

    every: int
    width: int = 1
    kind: ClassVar[str] = "pulse"

    def __post_init__(self) -> None:
        _at_least_one(self, every=self.every, width=self.width)

    def at(self, t: Int[Tensor, " position"]) -> Float[Tensor, " position"]:
        return (t.remainder(self.every) < self.width).float()


@dataclass(frozen=True)
class Values:
    """A share for each token, as painted; nothing after the last."""

    values: Sequence[float]  # once made, a tuple
    kind: ClassVar[str] = "values"

    def __post_init__(self) -> None:
        values = tuple(float(value) for value in self.values)
        if not values or not all(map(math.isfinite, values)):
            raise ValueError(f"a schedule needs finite values, at least one; got {list(values)}")
        object.__setattr__(self, "values", values)

    def at(self, t: Int[Tensor, " position"]) -> Float[Tensor, " position"]:
        known = torch.tensor([*self.values, 0.0], device=t.device)
        last = len(self.values)
        return known[torch.where((t >= 0) & (t < last), t, last)]


Schedule = Ramp | Decay | Pulse | Values
SCHEDULES = (Ramp, Decay, Pulse, Values)


def _at_least_one(schedule: Schedule, **counts: int) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(
                f"{name} of a {type(schedule).__name__} is a whole number of tokens from 1; "
                f"got {count!r}"
            )
