"""The picture of a training, and what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from sae_widgets.share.axis import Axis, linear, logarithmic
from sae_widgets.share.color import ACCENT, INK, LINE, SOFT, WARM
from sae_widgets.share.numbers import count, percent, strength
from sae_widgets.share.sheet import MONO_TINY, PROSE, SMALL, TITLE, Point, Sheet, printable
from sae_widgets.widgets.training import BINS, FIGURES

State = Mapping[str, Any]
"""The traits of a widget by name."""

WIDTH = 960
COLUMN, GAP, EDGE = 221, 17, 12
AXIS, PLOT, CHART = 38, 76, 134
"""Width of the names of an axis, and heights of what is drawn and of a chart with its names."""


class Drawn(NamedTuple):
    """How a figure is drawn; see `js/src/widgets/training.tsx`."""

    figure: str
    title: str
    axis: Callable[[Sequence[float]], Axis]
    format: Callable[[float], str]


def fine(value: float) -> str:
    """A figure with three significant digits, small ones as powers of ten."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 100:
        return f"{value:.0f}"
    if value == 0 or abs(value) >= 0.01:
        return f"{float(f'{value:.3g}'):g}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits.removesuffix('.0')}e{int(power)}".replace("e-", "e−")


CHARTS = (
    Drawn("loss", "loss", logarithmic, fine),
    Drawn("fvu", "FVU", logarithmic, fine),
    Drawn("l0", "L0", linear, fine),
    Drawn("dead", "dead", linear, percent),
    Drawn("learning_rate", "learning rate", linear, fine),
    Drawn("grad_norm", "gradient", logarithmic, fine),
)
PLACES = ((0, 0), (1, 0), (2, 0), (3, 0), (2, 1), (3, 1))
"""Columns and rows of the charts; the densities take the two places that are left."""


def words(state: State) -> str:
    """What the widget shows, for who cannot see it. While it trains, that is soon another thing."""
    run, at = state["run"], state["at"]
    name = printable(run["name"] or run["hook"])
    about = f"Training of the SAE {name}: {count(run['steps'], 'step')} of {run['batch']} vectors"
    table = _table(state)
    if at["state"] not in ENDS or not len(table):
        return f"{about}."
    last = dict(zip(FIGURES, table[-1].tolist(), strict=True))
    told = [f"{title} {form(last[figure])}" for figure, title, _, form in CHARTS]
    return f"{about}, {ENDS[at['state']]} at step {at['step']}: {', '.join(told)}."


ENDS = {"done": "done", "stopped": "stopped", "failed": "ended by an error", "paused": "paused"}


def _table(state: State) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.frombuffer(state["figures"], "<f4").reshape(-1, len(FIGURES))


def picture(state: State) -> tuple[bytes, float]:
    """A training as a PNG, and how high that is."""
    sheet = Sheet(WIDTH)
    run, at, table = state["run"], state["at"], _table(state)
    name = TITLE.cut(printable(run["name"] or run["hook"]), 420)
    sheet.text(EDGE, 20, name, TITLE, INK)
    sheet.text(WIDTH - EDGE, 20, _told(run, at), SMALL, SOFT, "rm")
    sheet.box(EDGE, 36, WIDTH - 2 * EDGE, 3, LINE, radius=1.5)
    sheet.box(EDGE, 36, (WIDTH - 2 * EDGE) * at["step"] / run["steps"], 3, ACCENT, radius=1.5)
    sheet.rule(47)
    top = 48.0
    if state["status"]["state"] == "error":
        sheet.text(EDGE, top + 16, PROSE.cut(printable(state["status"]["text"]), 930), PROSE, WARM)
        top += 32
    if len(table):
        for chart, (column, row) in zip(CHARTS, PLACES, strict=True):
            left = EDGE + column * (COLUMN + GAP)
            _curve(sheet, left, top + 10 + row * CHART, chart, table, run)
        counts = np.frombuffer(state["densities"], "<u4").reshape(-1, BINS)[-1].tolist()
        _densities(sheet, EDGE, top + 10 + CHART, counts)
        top += 10 + 2 * CHART
    else:
        sheet.text(14, top + 26, "There are no figures as yet.", PROSE, SOFT)
        top += 52
    sheet.rule(top)
    width = "" if run["d_sae"] is None else count(run["d_sae"], "feature")
    origin = (run["hook"], width, f"{count(run['batch'], 'vector')} a step")
    sheet.text(EDGE, top + 15, printable(" · ".join(filter(None, origin))), SMALL, SOFT)
    sheet.frame(top + 30)
    return sheet.png(top + 30), top + 30


def _told(run: Mapping[str, Any], at: Mapping[str, Any]) -> str:
    where = f"step {at['step']} of {run['steps']}"
    kept = "" if at["saved"] is None else f" · checkpoint {at['saved']}"
    if at["state"] == "done":
        return f"done: {count(at['step'], 'step')} in {_seconds(at['seconds'])}{kept}"
    how = {"stopped": "stopped at ", "failed": "ended at ", "paused": "paused at "}
    return f"{how.get(at['state'], 'recorded at ')}{where}{kept}"


def _seconds(value: float) -> str:
    if value < 60:
        return f"{value:.1f} s"
    return f"{int(value // 60)} min {round(value % 60)} s"


def _curve(
    sheet: Sheet,
    left: float,
    top: float,
    chart: Drawn,
    table: np.ndarray[Any, np.dtype[np.float32]],
    run: Mapping[str, Any],
) -> None:
    """A figure over the steps."""
    values = table[:, FIGURES.index(chart.figure)].tolist()
    aim = run["target"] if chart.figure == "l0" else None
    axis = chart.axis(values if aim is None else [*values, aim])
    told = chart.format(values[-1])
    title = f"{chart.title} (log)" if axis.log else chart.title
    _frame(sheet, left, top, COLUMN, title, told if aim is None else f"{told} · target {aim}")
    x, room, bottom = left + AXIS, COLUMN - AXIS, top + 24 + PLOT
    _ticks(sheet, x, room, bottom, axis, chart.format)
    if aim is not None:
        high = bottom - PLOT * axis.place(aim)
        sheet.line([(x, high), (x + room, high)], ACCENT, 1, dashed=True)
    points: list[Point | None] = [
        (x + room * step / run["steps"], bottom - PLOT * place) if math.isfinite(place) else None
        for step, place in zip(table[:, 0].tolist(), map(axis.place, values), strict=True)
    ]
    for piece in _pieces(points):
        sheet.line(piece, INK, 1.5)
    if points[-1] is not None:
        sheet.disc(*points[-1], 3, INK, INK)
    sheet.text(x, bottom + 10, "0", MONO_TINY, SOFT)
    sheet.text(x + room, bottom + 10, count(run["steps"], "step"), MONO_TINY, SOFT, "rm")


def _pieces(points: Sequence[Point | None]) -> Iterator[list[Point]]:
    """The stretches of a curve between places where it has no value."""
    for missing, piece in groupby(points, lambda point: point is None):
        if not missing:
            yield [point for point in piece if point is not None]


def _densities(sheet: Sheet, left: float, top: float, counts: Sequence[int]) -> None:
    """How many features fire how often."""
    wide = 2 * COLUMN + GAP
    axis = linear(counts)
    _frame(sheet, left, top, wide, "how often features fire", f"{counts[0]} never")
    x, room, bottom = left + AXIS, wide - AXIS, top + 24 + PLOT
    _ticks(sheet, x, room, bottom, axis, strength)
    step = room / len(counts)
    for place, n in enumerate(counts):
        high = max(1.0, PLOT * axis.place(n)) if n else 0.0  # one feature of many is seen, too
        color = SOFT if place else WARM
        sheet.box(x + place * step + 1, bottom - high, step - 2, high, color)
    sheet.text(x + step / 2, bottom + 10, "never", MONO_TINY, SOFT, "mm")
    for place, name in ((5, "10⁻⁴"), (9, "10⁻²"), (13, "1")):
        anchor = "rm" if place == BINS else "mm"
        sheet.text(x + place * step, bottom + 10, name, MONO_TINY, SOFT, anchor)


def _frame(sheet: Sheet, left: float, top: float, width: float, title: str, value: str) -> None:
    sheet.text(left, top + 8, title, SMALL, SOFT)
    sheet.text(left + width, top + 8, value, SMALL, INK, "rm")


def _ticks(
    sheet: Sheet, x: float, room: float, bottom: float, axis: Axis, form: Callable[[float], str]
) -> None:
    for tick in axis.ticks:
        high = bottom - PLOT * axis.place(tick)
        sheet.box(x, round(high), room, 1, LINE)
        sheet.text(x - 6, high, form(tick), MONO_TINY, SOFT, "rm")
