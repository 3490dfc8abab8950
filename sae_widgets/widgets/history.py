"""What a steering panel has written: every state of its settings with its texts, as a tree."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

KEPT = 24
"""How many states are kept: each is stored in the saved notebook."""

PAUSE = 1.5
"""Seconds after which the next strength is no longer of the same drag."""

SHOWN = ("name", "control", "tokens", "nll")
"""What is kept of an arm."""


class History:
    """The states of a panel, each a child of the one that it was made from.

    A state is {"id", "parent", "request", "arms"}, and `here` the id of the newest, 0 where there
    is none. Whoever goes back to a state and changes something begins a branch there. Of a drag
    through many strengths the last is kept.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.states: list[dict[str, Any]] = []
        self.here = 0
        self._clock = clock
        self._newest = 0
        self._asked: tuple[float, Any] = (-math.inf, None)
        self._gesture = 0
        self._last = 0  # of the state that was added last: the gesture

    def begin(self, request: Mapping[str, Any]) -> int:
        """A run is asked for: the number of the gesture that it is of."""
        now, bare = self._clock(), _bare(request)
        before, last = self._asked
        self._asked = now, bare
        if now - before >= PAUSE or bare != last:
            self._gesture += 1
        return self._gesture

    def add(self, request: Mapping[str, Any], run: Mapping[str, Any], gesture: int) -> None:
        """Take what `request` has written; a state that is there already is gone back to."""
        asked = {name: value for name, value in request.items() if name != "id"}
        arms = [{name: arm[name] for name in SHOWN if name in arm} for arm in run["arms"]]
        for state in self.states:
            if (state["request"], state["arms"]) == (asked, arms):
                self.here, self._last = state["id"], 0
                return
        self._newest += 1
        parent, last = self.here, self._find(self.here)
        if last is not None and gesture == self._last and not self._children(last):
            parent = last["parent"]
            self.states.remove(last)
        self.states.append({"id": self._newest, "parent": parent, "request": asked, "arms": arms})
        self.here, self._last = self._newest, gesture
        if len(self.states) > KEPT:
            self._forget(self.states[0])

    def restore(self, states: Sequence[Mapping[str, Any]], here: int) -> None:
        """Go on from the states of another history, the newest last, and from `here` in it."""
        if len(states) > KEPT:
            raise ValueError(f"a history keeps {KEPT} states; got {len(states)}")
        known = [0]
        for state in states:
            if state["id"] <= known[-1] or state["parent"] not in known:
                raise ValueError(
                    "the states of a history are numbered upwards from 1, and each comes after "
                    f"its parent; got state {state['id']} with parent {state['parent']} after "
                    f"{known[1:] or 'none'}"
                )
            known.append(state["id"])
        if here not in known:
            raise ValueError(f"there is no state {here}; there are {known[1:] or 'none'}")
        self.states = [dict(state) for state in states]
        self.here, self._newest, self._last = here, known[-1], 0

    def _forget(self, state: dict[str, Any]) -> None:
        """Let the children of a state take its place."""
        self.states.remove(state)
        for child in self._children(state):
            child["parent"] = state["parent"]

    def _children(self, state: Mapping[str, Any]) -> list[dict[str, Any]]:
        return [other for other in self.states if other["parent"] == state["id"]]

    def _find(self, id: int) -> dict[str, Any] | None:
        return next((state for state in self.states if state["id"] == id), None)


def _bare(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request without the strengths of its edits."""
    edits = [{k: v for k, v in edit.items() if k != "strength"} for edit in request["edits"]]
    return {**request, "id": None, "edits": edits}
