"""The picture of a training, and what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np

from sae_widgets.share.axis import Axis, linear, logarithmic
from sae_widgets.share.color import ACCENT, HUES, INK, LINE, SOFT, WARM, Color
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
    run, at, table = state["run"], state["at"], _table(state)
    names = [printable(sae["name"]) for sae in run["saes"]]
    what = f"the SAE {names[0]}" if len(names) == 1 else f"{len(names)} SAEs, {', '.join(names)}"
    about = f"Training of {what}: {count(run['steps'], 'step')} of {run['batch']} vectors"
    if at["state"] not in ENDS or not len(table):
        return f"{about}."
    told = []
    for name, values in zip(names, table[-1].tolist(), strict=True):
        last = dict(zip(FIGURES, values, strict=True))
        figures = ", ".join(f"{title} {form(last[figure])}" for figure, title, _, form in CHARTS)
        told.append(figures if len(names) == 1 else f"{name}: {figures}")
    notes = "".join(f" {printable(note)}." for note in _notes(run))
    return f"{about}, {ENDS[at['state']]} at step {at['step']}: {'; '.join(told)}.{notes}"


def _notes(run: Mapping[str, Any]) -> list[str]:
    """What the person should know of it."""
    return [str(note)[:500] for note in run.get("notes", ())][:8]


ENDS = {"done": "done", "stopped": "stopped", "failed": "ended by an error", "paused": "paused"}


def _table(state: State) -> np.ndarray[Any, np.dtype[np.float32]]:
    """[line, SAE, figure]."""
    return np.frombuffer(state["figures"], "<f4").reshape(
        -1, len(state["run"]["saes"]), len(FIGURES)
    )


def picture(state: State) -> tuple[bytes, float]:
    """A training as a PNG, and how high that is."""
    sheet = Sheet(WIDTH)
    run, at, table = state["run"], state["at"], _table(state)
    saes, chosen = run["saes"], chosen_of(state)
    title = saes[0]["name"] if len(saes) == 1 else f"{len(saes)} SAEs from the same tokens"
    name = TITLE.cut(printable(title), 420)
    sheet.text(EDGE, 20, name, TITLE, INK)
    sheet.text(WIDTH - EDGE, 20, _told(run, at), SMALL, SOFT, "rm")
    sheet.box(EDGE, 36, WIDTH - 2 * EDGE, 3, LINE, radius=1.5)
    sheet.box(EDGE, 36, (WIDTH - 2 * EDGE) * at["step"] / run["steps"], 3, ACCENT, radius=1.5)
    sheet.rule(47)
    top = 48.0
    if state["status"]["state"] == "error":
        sheet.text(EDGE, top + 16, PROSE.cut(printable(state["status"]["text"]), 930), PROSE, WARM)
        top += 32
    for note in _notes(run):
        sheet.text(EDGE, top + 16, PROSE.cut(printable(note), 930), PROSE, WARM)
        top += 32
    if len(saes) > 1:
        top = _legend(sheet, top, saes, chosen)
    if len(table):
        for chart, (column, row) in zip(CHARTS, PLACES, strict=True):
            left = EDGE + column * (COLUMN + GAP)
            _curves(sheet, left, top + 10 + row * CHART, chart, table, run, chosen)
        counts = np.frombuffer(state["densities"], "<u4").reshape(-1, len(saes), BINS)
        _densities(sheet, EDGE, top + 10 + CHART, counts[-1, chosen].tolist())
        top += 10 + 2 * CHART
    else:
        sheet.text(14, top + 26, "There are no figures as yet.", PROSE, SOFT)
        top += 52
    sheet.rule(top)
    d_sae, hook = saes[chosen]["d_sae"], saes[chosen]["hook"]
    width = "" if d_sae is None else count(d_sae, "feature")
    origin = (hook, width, f"{count(run['batch'], 'vector')} a step")
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
    minutes, rest = divmod(round(value), 60)
    return f"{value:.1f} s" if value < 60 else f"{minutes} min {rest} s"


def chosen_of(state: State) -> int:
    """The number of the SAE whose figures stand in words."""
    return [sae["name"] for sae in state["run"]["saes"]].index(state["sae"])


def hue(number: int, run: Mapping[str, Any]) -> Color:
    """The colour of an SAE's lines: the ink where there is no other."""
    return INK if len(run["saes"]) == 1 else HUES[number % len(HUES)]


def _legend(sheet: Sheet, top: float, saes: Sequence[Mapping[str, Any]], chosen: int) -> float:
    """The SAEs and their colours; returns how far down it reaches."""
    x, y = float(EDGE), top + 14
    for number, sae in enumerate(saes):
        name = SMALL.cut(printable(sae["name"]), 300)
        wide = 20 + SMALL.length(name)
        if x + wide > WIDTH - EDGE:
            x, y = float(EDGE), y + 18
        sheet.box(x, y - 2, 14, 3, HUES[number % len(HUES)], radius=1.5)
        sheet.text(x + 20, y, name, SMALL, INK if number == chosen else SOFT)
        if number == chosen:
            sheet.box(x + 20, y + 8, wide - 20, 1, INK)
        x += wide + 16
    return y + 8


def _curves(
    sheet: Sheet,
    left: float,
    top: float,
    chart: Drawn,
    table: np.ndarray[Any, np.dtype[np.float32]],
    run: Mapping[str, Any],
    chosen: int,
) -> None:
    """A figure of every SAE over the steps; that of the chosen one stands in words."""
    every = table[:, :, FIGURES.index(chart.figure)].T.tolist()
    aims = [sae["target"] if chart.figure == "l0" else None for sae in run["saes"]]
    known = [aim for aim in aims if aim is not None]
    axis = chart.axis([*(value for values in every for value in values), *known])
    told = chart.format(every[chosen][-1])
    if aims[chosen] is not None:
        told = f"{told} · target {aims[chosen]}"
    title = f"{chart.title} (log)" if axis.log else chart.title
    _frame(sheet, left, top, COLUMN, title, told)
    x, room, bottom = left + AXIS, COLUMN - AXIS, top + 24 + PLOT
    _ticks(sheet, x, room, bottom, axis, chart.format)
    steps = table[:, 0, 0].tolist()
    for number in sorted(range(len(every)), key=lambda number: number == chosen):
        color, aim = hue(number, run), aims[number]
        if aim is not None:
            high = bottom - PLOT * axis.place(aim)
            of_one = ACCENT if len(every) == 1 else color
            sheet.line([(x, high), (x + room, high)], of_one, 1, dashed=True)
        points: list[Point | None] = [
            (x + room * step / run["steps"], bottom - PLOT * place)
            if math.isfinite(place)
            else None
            for step, place in zip(steps, map(axis.place, every[number]), strict=True)
        ]
        for piece in _pieces(points):
            sheet.line(piece, color, 2 if number == chosen and len(every) > 1 else 1.5)
        if number == chosen and points[-1] is not None:
            sheet.disc(*points[-1], 3, color, color)
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
