"""The picture of a heatmap, and what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sae_widgets.share.color import (
    ACCENT,
    INK,
    LINE,
    PAGE,
    SOFT,
    WARM,
    WELL,
    mixed,
    ramp,
    shade,
)
from sae_widgets.share.numbers import count, number, percent, signed
from sae_widgets.share.sheet import (
    MONO,
    MONO_SMALL,
    MONO_TINY,
    PROSE,
    SMALL,
    TITLE,
    TOKEN,
    TOKEN_LIT,
    Sheet,
    printable,
)

State = Mapping[str, Any]
"""The traits of a widget by name."""

WIDTH, SIDE, NAMES, ROW = 960, 232, 220, 22
NARROWEST, WIDEST = 20, 38
ROWS = 16
"""So many features are drawn, as many as the widget shows before it scrolls."""

LONGEST, LONGEST_SPECIAL = 110, 44
"""Tokens are cut at this length."""

STRONGEST = 1.5
"""The painted strength that fills a cell."""

SORTS = {
    "max": "strongest here",
    "mean": "mean where it fires",
    "share": "on most tokens",
    "token": "at the chosen token",
    "index": "by number",
}
SAID = 5
"""How many features are told of in words."""


@dataclass(frozen=True)
class Score:
    """The cells of a heatmap as a table, and the rows in the order in which they are shown."""

    view: Mapping[str, Any]
    value: np.ndarray[Any, np.dtype[np.float64]]
    """`[feature, token]`; 0 where a feature does not fire."""
    order: Sequence[int]
    largest: float | None
    """What a full shade stands for; None: each feature's peak."""

    @classmethod
    def of(cls, state: State) -> Score:
        view = state["view"]
        value = np.zeros((len(view["features"]), len(view["tokens"])))
        row, column = (
            np.frombuffer(state["row"], "<u2"),
            np.frombuffer(state["column"], "<u4"),
        )
        value[row, column] = np.frombuffer(state["value"], "<f2")
        largest = float(value.max(initial=0)) or 1.0 if state["scale"] == "text" else None
        score = cls(view, value, (), largest)
        return cls(view, value, score._arranged(state), largest)

    def full(self, row: int) -> float:
        """What a full shade of a row stands for."""
        feature = self.view["features"][row]
        return self.largest or feature["peak"] or feature["max"] or 1.0

    def _arranged(self, state: State) -> list[int]:
        """The rows that are shown, strongest first; see `arrange` in `js/src/layout.ts`."""
        features, sort, token = self.view["features"], state["sort"], state["token"]

        def key(row: int) -> float:
            feature = features[row]
            if sort == "index":
                return float(feature["feature"])
            if sort in ("mean", "share"):
                return -float(feature[sort])
            if sort == "max":
                return -float(feature["max"]) / self.full(row)
            return 0.0 if token is None else -float(self.value[row, token]) / self.full(row)

        shown = [
            row
            for row, feature in enumerate(features)
            if state["dense"] >= 1 or (feature["density"] or 0) <= state["dense"]
        ]
        return sorted(shown, key=key)


def words(state: State) -> str:
    """What the heatmap shows, for who cannot see it."""
    view = state["view"]
    if not view:
        return "An empty feature heatmap: no text has been read."
    score = Score.of({**state, "sort": "max", "dense": 1.0, "scale": "peak"})
    strongest = [_said(score, row) for row in score.order[:SAID]]
    return (
        f"Feature heatmap of “{printable(view['text'])}”: {count(len(view['tokens']), 'token')}, "
        f"on which {count(view['active'], 'feature')} fire. Strongest: {'; '.join(strongest)}. "
        f"{_origin(view)}."
    )


def _said(score: Score, row: int) -> str:
    feature = score.view["features"][row]
    place = int(score.value[row].argmax())
    peak = feature["peak"]
    strong = f"{number(feature['max'] / peak)} × peak" if peak else number(feature["max"])
    name = f" {feature['label']}" if feature["label"] else ""
    return f"{feature['feature']}{name} at “{score.view['tokens'][place]}” ({strong})"


def _origin(view: Mapping[str, Any]) -> str:
    width = count(view["width"], "feature") if view["width"] else ""
    return " · ".join(filter(None, (view["model"], view["hook"], view["sae"], width)))


def picture(state: State) -> tuple[bytes, float]:
    """A heatmap as a PNG, and how high that is."""
    sheet = Sheet(WIDTH)
    top = _bar(sheet, printable(state["text"]))
    view = state["view"]
    if len(view.get("tokens", ())) <= len(view.get("special", ())):
        sheet.text(14, top + 26, "No text has been read.", PROSE, SOFT)
        return _finished(sheet, top + 52)
    score = Score.of(state)
    card = state["card"]
    if (card.get("feature"), card.get("sae")) != (state["selected"], view["sae"]):
        card = {}
    at = _Layout.of(score, top + 30, WIDTH - SIDE if card else WIDTH)
    _controls(sheet, top, state, score, at)
    bottom = _score(sheet, state, score, at)
    if card:
        sheet.box(WIDTH - SIDE, top + 29, 1, max(bottom, top + 290) - top - 29, LINE)
        bottom = max(bottom, _card(sheet, top + 30, card, _marked(state, score)))
    return _finished(sheet, _legend(sheet, bottom + 4, score))


def _finished(sheet: Sheet, height: float) -> tuple[bytes, float]:
    sheet.frame(height)
    return sheet.png(height), height


def _bar(sheet: Sheet, text: str) -> float:
    """The text that was read, in its box; returns where the next part begins."""
    sheet.box(10, 8, WIDTH - 20, 32, WELL, radius=6)
    sheet.text(20, 24, MONO.cut(text, WIDTH - 40), MONO, INK)
    sheet.rule(47)
    return 48


@dataclass(frozen=True)
class _Layout:
    """Where everything stands; see `layout` in `js/src/layout.ts`."""

    top: float
    header: float
    strip: float
    column: float
    columns: int
    rows: int

    @classmethod
    def of(cls, score: Score, top: float, width: float) -> _Layout:
        view = score.view
        special = set(view["special"])
        leans = [
            math.sqrt(0.5) * min(TOKEN.length(token), LONGEST_SPECIAL if i in special else LONGEST)
            for i, token in enumerate(view["tokens"])
        ]
        room = width - NAMES - 8
        columns = min(len(leans), int(room // NARROWEST))
        leans = leans[:columns]
        column = NARROWEST
        while (
            column < WIDEST
            and all((i + 0.5) * (column + 1) + lean <= room for i, lean in enumerate(leans))
            and (column + 1) * columns <= room
        ):
            column += 1
        return cls(
            top=top,
            header=20 + math.ceil(max(17, *leans)),
            strip=9 if view.get("explained") else 3,
            column=column,
            columns=columns,
            rows=min(ROWS, len(score.order)),
        )

    @property
    def first(self) -> float:
        """Where the rows begin."""
        return self.top + self.header + self.strip

    def x(self, column: int) -> float:
        return NAMES + column * self.column

    def y(self, row: int) -> float:
        return self.first + row * ROW


def _controls(sheet: Sheet, top: float, state: State, score: Score, at: _Layout) -> None:
    view = score.view
    title = next((s["title"] or s["name"] for s in state["saes"] if s["name"] == view["sae"]), "")
    peaks = any(feature["peak"] for feature in view["features"])
    per_row = "× feature peak" if peaks else "of each row"
    chosen = {
        "SAE": title,
        "Sort": SORTS[state["sort"]],
        "Scale": "of this text" if state["scale"] == "text" else per_row,
        "Hide dense": "" if state["dense"] >= 1 else f"> {percent(state['dense'])}",
    }
    x = 12.0
    for name, value in chosen.items():
        if value:
            sheet.text(x, top + 15, name, SMALL, SOFT)
            x += SMALL.length(name) + 6
            value = SMALL.cut(printable(value), 220)
            sheet.text(x, top + 15, value, SMALL, INK)
            x += SMALL.length(value) + 16
    tokens = len(view["tokens"])
    cut = f"first {at.columns} of " if at.columns < tokens else ""
    told = f"{at.rows} of {count(view['active'], 'feature')} · {cut}{count(tokens, 'token')}"
    sheet.text(WIDTH - 12, top + 15, told, SMALL, SOFT, "rm")
    sheet.rule(top + 29)


def _score(sheet: Sheet, state: State, score: Score, at: _Layout) -> float:
    _tokens(sheet, state, score, at)
    painted = {
        each["feature"]: each for each in state["painted"] or () if each["sae"] == score.view["sae"]
    }
    special = set(score.view["special"])
    for place, row in enumerate(score.order[: at.rows]):
        _name(sheet, at.y(place), score.view["features"][row], state["selected"])
        sheet.box(at.x(0), at.y(place), at.x(at.columns) - at.x(0) - 1, ROW - 1, WELL)
        for column in np.flatnonzero(score.value[row, : at.columns]).tolist():
            if column not in special:
                color = shade(score.value[row, column] / score.full(row))
                sheet.box(at.x(column), at.y(place), at.column - 1, ROW - 1, color)
    for column in range(1, at.columns):
        sheet.box(at.x(column) - 1, at.first, 1, at.rows * ROW, PAGE)
    for column in special & set(range(at.columns)):
        for y in map(at.y, range(at.rows)):
            ends = [(at.x(column) + 3, y + ROW - 5), (at.x(column + 1) - 4, y + 3)]
            sheet.line(ends, LINE)
    for place, row in enumerate(score.order[: at.rows]):
        feature = score.view["features"][row]["feature"]
        if feature in painted:
            _bars(sheet, at, place, painted[feature], special)
    for place, row in enumerate(score.order[: at.rows]):
        if score.view["features"][row]["feature"] == state["selected"]:
            _mark(sheet, at, place, state["token"])
    return at.y(at.rows) + 6


def _tokens(sheet: Sheet, state: State, score: Score, at: _Layout) -> None:
    """The tokens, and under each how much of its activation is explained."""
    view = score.view
    special, part = set(view["special"]), set(view["part"])
    for column, token in enumerate(view["tokens"][: at.columns]):
        font = TOKEN_LIT if column == state["token"] else TOKEN
        text = font.cut(printable(token), LONGEST_SPECIAL if column in special else LONGEST)
        color = SOFT if column in special | part else INK
        sheet.slanted(at.x(column) + at.column / 2 - 1, at.top + at.header - 9, text, font, color)
        if view.get("explained"):
            x, y, width = at.x(column) + 1.5, at.top + at.header, at.column - 4
            sheet.box(x, y, width, 5, WELL)
            if column not in special:
                sheet.box(x, y, width * min(1, max(0, view["explained"][column])), 5, SOFT)


def _name(sheet: Sheet, top: float, feature: Mapping[str, Any], selected: int | None) -> None:
    if feature["feature"] == selected:
        sheet.box(4, top, NAMES - 10, ROW - 1, WELL)
        sheet.box(0, top, 3, ROW - 1, ACCENT)
    sheet.text(42, top + ROW / 2, str(feature["feature"]), MONO_SMALL, SOFT, "rm")
    label = PROSE.cut(printable(feature["label"]) or "no name yet", NAMES - 58)
    sheet.text(50, top + ROW / 2, label, PROSE, INK if feature["label"] else SOFT)


def _bars(
    sheet: Sheet, at: _Layout, place: int, painted: Mapping[str, Any], special: set[int]
) -> None:
    """What is painted on a row: standing for what pushes up, hanging for down, hollow if off."""
    inset = 4 if at.column < 28 else 7
    width, room = at.column - 1 - 2 * inset, ROW - 2
    for column, value in enumerate(painted["values"][: at.columns]):
        if not value or column in special:
            continue
        height = max(3, round(room * min(1, abs(value) / STRONGEST)))
        left = at.x(column) + inset
        top = at.y(place) + (ROW - 1 - height if value > 0 else 0)
        sheet.box(left - 1, top - (value > 0), width + 2, height + 1, PAGE)
        sheet.box(left, top, width, height, WARM)
        if not painted["on"]:
            sheet.box(left + 1, top + 1, width - 2, height - 2, PAGE)


def _mark(sheet: Sheet, at: _Layout, place: int, token: int | None) -> None:
    """The chosen token of the selected feature."""
    if token is None or token >= at.columns:
        return
    x, y = at.x(token), at.y(place)
    sheet.box(x - 1.5, y - 1.5, at.column + 2, ROW + 2, None, outline=WARM, border=2)
    sheet.box(x, at.first - 2, at.column - 1, 2, WARM)


def _marked(state: State, score: Score) -> float | None:
    """The value of the selected feature at the chosen token."""
    for row, feature in enumerate(score.view["features"]):
        if feature["feature"] == state["selected"] and state["token"] is not None:
            return float(score.value[row, state["token"]])
    return None


def _card(sheet: Sheet, top: float, card: Mapping[str, Any], mark: float | None) -> float:
    """What is known of the selected feature; returns where it ends."""
    left, width = WIDTH - SIDE + 12, SIDE - 24
    sheet.text(left, top + 18, f"feature {card['feature']}", MONO_SMALL, SOFT)
    label = printable(card["label"]) or "no name yet"
    sheet.text(left, top + 36, TITLE.cut(label, width), TITLE, INK if card["label"] else SOFT)
    sheet.text(left, top + 54, f"peak {number(card['peak'])}", SMALL, SOFT)
    sheet.text(left + width, top + 54, f"density {percent(card['density'])}", SMALL, SOFT, "rm")
    top += 68
    if card.get("histogram") and card["peak"] is not None:
        _histogram(sheet, left, top, width, card["histogram"], card["peak"], mark)
        top += 56
    for name, tokens in (("makes likely", card["likely"]), ("makes unlikely", card["unlikely"])):
        if tokens:
            sheet.text(left, top + 6, name, SMALL, SOFT)
            top = _chips(sheet, left, top + 18, width, tokens) + 8
    if card.get("note"):
        sheet.text(left, top + 6, SMALL.cut(printable(card["note"]), width), SMALL, SOFT)
        top += 18
    return top


def _histogram(
    sheet: Sheet,
    left: float,
    top: float,
    width: float,
    counts: Sequence[float],
    peak: float,
    mark: float | None,
) -> None:
    heights = [math.sqrt(max(0, n)) for n in counts]
    tallest, step = max(1, *heights), width / max(1, len(counts))
    for i, height in enumerate(heights):
        bar = 0 if height == 0 else max(1.5, 42 * height / tallest)
        sheet.box(left + i * step, top + 43 - bar, step - 1, bar, mixed(0.55, SOFT, PAGE))
    if mark is not None:
        sheet.box(left + min(1, max(0, mark / (peak or 1))) * (width - 2), top, 2, 43, WARM)


def _chips(
    sheet: Sheet, left: float, top: float, width: float, tokens: Sequence[Sequence[Any]]
) -> float:
    """Tokens with their scores, as many to a line as there is room for."""
    x = left
    for token, score in tokens:
        text, told = TOKEN.cut(printable(token), 120), signed(score)
        long = 16 + TOKEN.length(text) + MONO_TINY.length(told)
        if x > left and x + long > left + width:
            x, top = left, top + 25
        sheet.box(x, top, long, 21, WELL, radius=4)
        sheet.text(x + 6, top + 10.5, text, TOKEN, INK)
        sheet.text(x + long - 6, top + 11, told, MONO_TINY, SOFT, "rm")
        x += long + 4
    return top + 21


def _legend(sheet: Sheet, top: float, score: Score) -> float:
    """What the shades mean, and where the features come from; returns where it ends."""
    view, middle = score.view, top + 12
    colors = ramp()
    sheet.text(12, middle, "0", MONO_SMALL, SOFT)
    for i, color in enumerate(colors):
        step = 120 / len(colors)
        sheet.box(28 + i * step, middle - 4, step + 0.5, 8, color)
    if score.largest is not None:
        full = f"{number(score.largest)} (largest here)"
    else:
        peaks = any(feature["peak"] for feature in view["features"])
        full = "1 × peak" if peaks else "each row's largest"
    sheet.text(156, middle, full, MONO_SMALL, SOFT)
    if view.get("explained"):
        x = 156 + MONO_SMALL.length(full) + 20
        sheet.box(x, middle - 2.5, 12, 5, SOFT)
        sheet.text(x + 18, middle, "share of the activation explained", SMALL, SOFT)
    origin = _origin({**view, "sae": ""})
    sheet.text(WIDTH - 12, middle, SMALL.cut(printable(origin), 380), SMALL, SOFT, "rm")
    return top + 25
