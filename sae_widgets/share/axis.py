"""Axes of small charts: the mirror of `js/src/axis.ts`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

ROUND = (1, 2, 4, 6, 8, 10)
SERIES = (1, 2, 5)
APART = 0.22


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`; with `log`, equal steps are equal factors. `ticks` are named."""

    low: float
    high: float
    log: bool = False
    ticks: list[float] = field(default_factory=list)

    def place(self, value: float) -> float:
        """Where a value stands, from 0 at the low end to 1; NaN where it has no place."""
        if not self.log:
            return (value - self.low) / (self.high - self.low)
        if not value > 0:
            return math.nan
        return math.log(value / self.low) / math.log(self.high / self.low)


def linear(values: Iterable[float]) -> Axis:
    """From nothing to the first round number that none of `values` exceeds."""
    most = max((value for value in values if math.isfinite(value)), default=0.0)
    unit = 10.0 ** math.floor(math.log10(most)) if most > 0 else 1.0
    high = unit * next((n for n in ROUND if n * unit >= most), 10)
    return Axis(0, high, ticks=[0, high / 2, high])


def logarithmic(values: Iterable[float]) -> Axis:
    """Between the round numbers that hold all of `values` that are above nothing."""
    shown = [value for value in values if math.isfinite(value) and value > 0]
    least, most = (min(shown), max(shown)) if shown else (0.1, 1.0)
    powers = range(_decade(least), _decade(most) + 2)
    steps = [float(f"{n}e{power}") for power in powers for n in SERIES]
    low = max((step for step in steps if step <= least), default=least)
    high = next((step for step in steps if step >= most and step > low), most)
    axis = Axis(low, high, log=True, ticks=[low, high])
    for step in (float(f"1e{power}") for power in powers):
        if low < step < high:
            before = axis.place(axis.ticks[-2])
            if min(axis.place(step) - before, 1 - axis.place(step)) >= APART:
                axis.ticks.insert(-1, step)
    return axis


def _decade(value: float) -> int:
    return math.floor(math.log10(value) + 1e-9)
