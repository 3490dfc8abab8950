"""What edits do to the newest texts of a steering panel, measured while they are changed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from sae_widgets.model import Model
from sae_widgets.sae import SAE
from sae_widgets.steering.edits import AnyEdit, edit_from_json
from sae_widgets.steering.generation import Run
from sae_widgets.steering.prompts import Prompts
from sae_widgets.wire import About, told_overlaps, told_proof, told_strip, told_suggestion, unscaled

T = TypeVar("T")

REMEMBERED = 4
"""How many runs are kept, to measure edits on their texts."""


class Measurements:
    """The newest runs of a session's panels, and what edits do to their texts.

    While a slider moves, the same text is measured again and again: what did not change since is
    remembered.
    """

    def __init__(
        self, model: Model, saes: Mapping[str, SAE], about: About, prompts: Prompts
    ) -> None:
        self._model = model
        self._saes = saes
        self._about = about
        self._prompts = prompts
        self._runs: dict[tuple[Any, ...], Run] = {}
        self._strip: _Last[dict[str, Any]] = _Last()
        self._suggestion: _Last[list[Any]] = _Last()
        self._guard = threading.Lock()

    def keep(self, request: Mapping[str, Any], run: Run) -> None:
        """Let edits be measured on the texts of `run` from now on, where the settings are its."""
        with self._guard:  # each panel has a thread of its own
            self._runs.pop(_manner(request), None)
            self._runs[_manner(request)] = run
            while len(self._runs) > REMEMBERED:
                self._runs.pop(next(iter(self._runs)))

    def of(
        self, request: Mapping[str, Any], looking: SAE, check: Callable[[], None], written: bool
    ) -> Iterator[dict[str, Any]]:
        """What the edits of a request do to the newest texts of its settings, bit by bit.

        While a slider moves, that is the unsteered text; once the run is `written`, the steered
        too. `looking` is the SAE that tells what else moved. What is worth waiting for comes last.
        """
        run = self._runs.get(_manner(request))
        edits = tuple(edit_from_json(edit) for edit in request["edits"])
        if not any(edit.on for edit in edits):
            return
        first: dict[str, Any] = {"overlaps": told_overlaps(self._saes, edits)}
        if run is None or not run.tokens[0]:
            yield first
            return
        text = (run.model["weights"], run.ids, run.tokens[0])

        def strip() -> dict[str, Any]:
            return told_strip(self._model, self._saes, run, edits, self._prompts)

        # A push is suggested between two strengths whatever strength it has now.
        direction = unscaled(edits)
        known = self._suggestion.known((*text, direction))
        if known is not None:
            first["suggested"] = _by_row(edits, known)
        yield {**first, **self._strip.of((*text, edits), strip)}
        if not written or run.arms[1].edits != edits or not run.tokens[1]:
            return
        check()
        yield told_proof(self._model, self._saes, run, looking, self._about)

        if direction is not None:
            told = self._suggestion.of(
                (*text, direction),
                lambda: told_suggestion(self._model, self._saes, run, direction, check),
            )
            yield {"suggested": _by_row(edits, told)}


def _by_row(edits: Sequence[AnyEdit], told: Sequence[Any]) -> list[Any]:
    """What is told of the edits that are on, in a list of all."""
    of_those_on = iter(told)
    return [next(of_those_on, None) if edit.on else None for edit in edits]


class _Last(Generic[T]):
    """The newest of something that takes time to make, and what it was made for."""

    def __init__(self) -> None:
        self._held: tuple[Any, T] | None = None

    def known(self, key: object) -> T | None:
        held = self._held  # another thread may put a newer one in its place
        return held[1] if held is not None and held[0] == key else None

    def of(self, key: object, make: Callable[[], T]) -> T:
        made = self.known(key)
        if made is None:
            made = make()
            self._held = key, made
        return made


def _manner(request: Mapping[str, Any]) -> tuple[Any, ...]:
    """What the unsteered text of a run depends on."""
    return tuple(request[name] for name in ("prompt", "length", "temperature", "seed"))
