"""The heatmap: which features fire on which tokens of a text."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import traitlets
from numpy.typing import ArrayLike

from sae_widgets.widgets.panel import Panel, bundle, field, plain
from sae_widgets.widgets.worker import Check, Executor, Report, Status, default_executor

SORTS = ("max", "mean", "share", "index", "token")
SCALES = ("peak", "text")
AT_ONCE = 50
"""How many cards are made at once: of each, the scores of a whole vocabulary are in memory."""
SOON = 0.2
"""Seconds that a cell may wait for the card of the feature that it selects."""


@dataclass(frozen=True)
class FeatureRow:
    """One feature on one text. `max`, `mean` and `share` leave special tokens out.

    `mean` is over the tokens where it fires; `share` is the share of tokens where it fires;
    `peak` and `density` are over a corpus, and None where the SAE came without statistics.
    """

    feature: int
    label: str
    peak: float | None
    density: float | None
    max: float
    mean: float
    share: float


@dataclass(frozen=True)
class HeatmapView:
    """What one heatmap shows: tokens, features, and one (row, column, value) per non-zero cell.

    `row` counts in `features`, `column` in `tokens`. `special` and `part` list positions.
    `active` is how many features fire anywhere in the text, shown here or not. `explained`, if
    given, is the share of each token's activation that the SAE accounts for.
    """

    text: str
    sae: str
    tokens: Sequence[str]
    features: Sequence[FeatureRow]
    row: ArrayLike
    column: ArrayLike
    value: ArrayLike
    active: int
    special: Sequence[int] = ()
    part: Sequence[int] = ()
    note: str = ""
    model: str = ""
    hook: str = ""
    width: int = 0
    explained: Sequence[float] | None = None


Read = Callable[[str, str, Check], HeatmapView]
Describe = Callable[[Sequence[int], str], Sequence[Mapping[str, Any]]]
Steer = Callable[[int, str], None]
Paint = Callable[[int, Sequence[float], str], None]


class Heatmap(Panel):
    """Which features fire on which tokens of a text.

    Type a text and read it; click a cell to select its feature and token; double-click to steer
    the feature. `read(text, sae, check)` makes the view; `describe(features, sae)` makes the cards
    beside it, one a feature; `steer(feature, sae)`, if given, is told what the person wants to
    steer, and `paint(feature, strengths, sae)` how strongly at each token. `painted` is what is
    drawn as painted, each {"sae", "feature", "op", "unit", "on", "values"}; who takes `paint` sets
    it.
    """

    _esm = bundle("heatmap.js")
    _css = bundle("heatmap.css")

    # The kernel's: a view and its cells are replaced together.
    view = traitlets.Dict().tag(sync=True)
    row = traitlets.Bytes(b"").tag(sync=True)  # uint16, little-endian, one per non-zero cell
    column = traitlets.Bytes(b"").tag(sync=True)  # uint32
    value = traitlets.Bytes(b"").tag(sync=True)  # float16
    card = traitlets.Dict().tag(sync=True)
    # What the cards of the view's features hold besides, so that they are there without a kernel:
    # {"id", "vocab", "bins", "likely", "unlikely", "note"}, and the numbers; see `_cards_to_wire`.
    cards = traitlets.Dict().tag(sync=True)
    facts = traitlets.Bytes(b"").tag(sync=True)
    steerable = traitlets.Bool(False).tag(sync=True)
    # None: nothing can be painted here.
    painted = traitlets.List(traitlets.Dict(), None, allow_none=True).tag(sync=True)
    taken = traitlets.Int(0).tag(sync=True)  # the id of the newest `paint` that was dealt with
    # The user's.
    text = traitlets.Unicode("").tag(sync=True)
    token = traitlets.Int(None, allow_none=True).tag(sync=True)
    sort = traitlets.Enum(SORTS, "max").tag(sync=True)
    scale = traitlets.Enum(SCALES, "peak").tag(sync=True)
    dense = traitlets.Float(1.0, min=0.0, max=1.0).tag(sync=True)
    steer = traitlets.Dict().tag(sync=True)
    # {"id", "rows"}: each {"sae", "feature", "values"}, whole rows that were not taken as yet; the
    # browser sends the newest state and not each stroke, so that a lost message loses nothing.
    paint = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        read: Read,
        describe: Describe,
        steer: Steer | None = None,
        paint: Paint | None = None,
        *,
        saes: Sequence[Mapping[str, Any]],
        sae: str | None = None,
        text: str = "",
        worker: Callable[[Report], Executor] = default_executor,
        **traits: Any,
    ) -> None:
        super().__init__(
            saes,
            sae,
            worker,
            text=text,
            steerable=steer is not None,
            painted=None if paint is None else [],
            **traits,
        )
        self._read = read
        self._describe = describe
        self._steer = steer
        self._paint = paint
        self._describer = worker(self._show_trouble)
        self.on_close(self._describer.close)
        self._carder = worker(self._show_trouble)
        self.on_close(self._carder.close)
        if text:
            # In this cell, not on the worker: a mistake in the text raises where it was made.
            self.show(read(text, self.sae, lambda: None))
        self.observe(self._on_request, "request")
        self.observe(self._on_choice, ["text", "sae"])
        self.observe(self._on_selected, "selected")
        self.observe(self._on_steer, "steer")
        self.observe(self._on_paint, "paint")

    def show(self, view: HeatmapView, id: int | None = None) -> None:
        """Replace what is drawn."""
        shown, cells = _to_wire(view, self._next_id() if id is None else id)
        with self.hold_sync():
            self.row, self.column, self.value = cells
            self.view = shown
            if self.token is not None and self.token >= len(shown["tokens"]):
                self.token = None
        self._describe_selected()
        self._describe_all()

    def settled(self) -> bool:
        return super().settled() and self.cards.get("id") == self.view.get("id")

    def __repr__(self) -> str:
        tokens, features = len(self.view.get("tokens", ())), len(self.view.get("features", ()))
        return f"Heatmap({tokens} tokens × {features} features)"

    def _on_request(self, change: Mapping[str, Any]) -> None:
        try:
            id = field(change["new"], "id", int)
            text, sae = field(change["new"], "text", str), field(change["new"], "sae", str)
            self._newest = max(id, self._newest)
            self.sae = sae  # refuses a name that is not in `saes`
        except (ValueError, traitlets.TraitError) as error:
            self._fail(error)
            return
        self._submit(id, text, sae)

    def _on_choice(self, _change: object) -> None:
        """Read what Python set. The browser sends a request beside them, which is newer."""
        if self.request.get("id", 0) <= self._newest:
            self.when_seen(self.refresh)

    def refresh(self) -> None:
        """Read the present text with the present SAE."""
        super().refresh()
        self._submit(self._next_id(), self.text, self.sae)

    def _submit(self, id: int, text: str, sae: str) -> None:
        self._newest = id

        def job(check: Check) -> None:
            view = self._read(text, sae, check)
            check()
            self.show(view, id)

        self._executor.submit(id, job)

    def _on_selected(self, _change: object) -> None:
        if self.selected is None:
            self._describe_selected()
        else:
            self.when_seen(self._describe_selected)

    def _describe_selected(self) -> None:
        """Fill the card, on a worker of its own: the model may be held by a long run.

        Usually it takes milliseconds, and they are waited for: what arrives after its cell has
        ended is missing from the notebook that nbconvert executes and saves.
        """
        feature, sae = self.selected, self.view.get("sae") or self.sae
        if feature is None:
            self.card = {}
            return

        ended = threading.Event()

        def job(check: Check) -> None:
            try:
                (told,) = self._describe([feature], sae)
                card = plain({**told, "sae": sae})
                check()
                if self.selected == feature:
                    self.card = card
            finally:
                ended.set()

        self._describer.submit(0, job)
        ended.wait(SOON)

    def _describe_all(self) -> None:
        """Fill the cards of all features that are shown, in parts, between which others may run."""
        id, sae = self.view["id"], self.view["sae"]
        features = [row["feature"] for row in self.view["features"]]

        def job(check: Check) -> None:
            made: list[Mapping[str, Any]] = []
            for start in range(0, len(features), AT_ONCE):
                check()
                made += self._describe(features[start : start + AT_ONCE], sae)
            check()
            cards, facts = _cards_to_wire(made, id)
            with self.hold_sync():
                self.facts, self.cards = facts, cards

        self._carder.submit(0, job)

    def _show_trouble(self, status: Status) -> None:
        """Of describing a feature, only a failure is worth a word."""
        if status.state == "error":
            self.card = {}
            self._show_status(replace(status, id=int(self.status.get("id") or 0)))

    def _on_steer(self, change: Mapping[str, Any]) -> None:
        if self._steer is None:
            return
        try:
            self._steer(field(change["new"], "feature", int), field(change["new"], "sae", str))
        except Exception as error:
            self._fail(error, int(self.status.get("id") or 0))

    def _on_paint(self, change: Mapping[str, Any]) -> None:
        """Hand on what was painted, and say that it was dealt with, well or not."""
        if self._paint is None:
            return
        try:
            for row in field(change["new"], "rows", list):
                self._paint(*check_row(row, self.view))
        except Exception as error:
            self._fail(error, int(self.status.get("id") or 0))
        self.taken = field(change["new"], "id", int)


def check_row(row: Any, view: Mapping[str, Any]) -> tuple[int, list[float], str]:
    """The feature, the strengths and the SAE of a row that was painted on the text of `view`."""
    if not isinstance(row, Mapping):
        raise ValueError(f"a painted row is a dict; got {row!r}")
    tokens, special = len(view.get("tokens", ())), view.get("special", ())
    values = field(row, "values", list)
    strengths = [field({"strength": value}, "strength", (int, float)) for value in values]
    if len(strengths) > tokens:
        raise ValueError(f"{len(strengths)} strengths do not fit on a text of {tokens} tokens")
    for place, strength in enumerate(strengths):
        if strength and place in special:
            raise ValueError(f"token {place} is special, and special tokens are never edited")
    return field(row, "feature", int), strengths, field(row, "sae", str)


def _to_wire(view: HeatmapView, id: int) -> tuple[dict[str, Any], tuple[bytes, bytes, bytes]]:
    """A view as the browser gets it: plain values, and three flat arrays for the cells."""
    row, column = np.asarray(view.row), np.asarray(view.column)
    value = np.asarray(view.value)
    if not row.shape == column.shape == value.shape or row.ndim != 1:
        raise ValueError(
            "a heatmap needs one row, one column and one value per cell; got arrays of shapes "
            f"{row.shape}, {column.shape}, {value.shape}"
        )
    if row.size and (row.max() >= len(view.features) or column.max() >= len(view.tokens)):
        raise ValueError(
            f"a heatmap of {len(view.tokens)} tokens and {len(view.features)} features got a cell "
            f"at token {column.max()}, row {row.max()}"
        )
    if not np.isfinite(value).all():
        raise ValueError("a heatmap shows finite values only; got NaN or infinity in a cell")
    shown = {
        "id": id,
        **{
            name: getattr(view, name)
            for name in ("text", "sae", "note", "model", "hook", "width", "active")
        },
        **{name: list(getattr(view, name)) for name in ("tokens", "special", "part")},
        "explained": None if view.explained is None else list(view.explained),
        "features": [asdict(feature) for feature in view.features],
    }
    largest = float(np.finfo(np.float16).max)
    cells = (
        row.astype("<u2").tobytes(),
        column.astype("<u4").tobytes(),
        value.clip(-largest, largest).astype("<f2").tobytes(),
    )
    return plain(shown), cells


def _cards_to_wire(cards: Sequence[Mapping[str, Any]], id: int) -> tuple[dict[str, Any], bytes]:
    """Cards as the browser gets them: about 130 bytes each, and every token's text once.

    Of each card there are `bins` counts (float16, the largest is 1), then for each of `likely`
    and `unlikely` tokens a place in `vocab` (uint16) and a score (float16); all little-endian.
    """
    places: dict[str, int] = {}
    sides = ("likely", "unlikely")
    bins = max((len(card.get("histogram") or ()) for card in cards), default=0)
    most = {side: min((len(card[side]) for card in cards), default=0) for side in sides}
    parts = []
    for card in cards:
        counts = np.zeros(bins)
        told = card.get("histogram") or ()
        counts[: len(told)] = told
        parts.append((counts / max(1, counts.max(initial=0))).astype("<f2").tobytes())
        for side in sides:
            tokens = card[side][: most[side]]
            named = [places.setdefault(str(token), len(places)) for token, _ in tokens]
            parts.append(np.array(named, "<u2").tobytes())
            parts.append(np.array([score for _, score in tokens], "<f2").tobytes())
    note = next((card["note"] for card in cards if card.get("note")), "")
    return plain({"id": id, "vocab": [*places], "bins": bins, **most, "note": note}), b"".join(
        parts
    )
