"""Texts that were read before, so that a slider that moves does not have them read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_widgets.model import Below, Model, Reading, device_of, inferring, lock, read_below, state


class Prompts:
    """What a model made of the newest texts that it read with nothing edited: prompts, mostly.

    Whoever edits only what follows goes on from there, whoever edits the text itself from the first
    block that an edit reaches. A text is read again when the model's weights have changed or a hook
    was added, and nothing is remembered under hooks of others (see `sae_widgets.model.state`; a
    module that computes otherwise with the same weights, such as an adapter switched off, is not
    noticed, nor is a single number of a matrix that is changed through `.data`).

    `kept` is how many are held: a text with the keys and values of all its tokens; a text as the
    blocks below a certain one read it, with theirs and one activation a token. (To keep what enters
    every block would take, where heads share keys and values, more than these.)
    """

    def __init__(self, kept: int = 4) -> None:
        self._kept = kept
        self._known: OrderedDict[Hashable, Any] = OrderedDict()

    def begin(
        self, model: Model, ids: Sequence[int], rows: int
    ) -> tuple[Float[Tensor, "row d_vocab"], Reading] | None:
        """The logits after `ids` for `rows` texts that all begin so, and the reading to go on with.

        The text is read once for all of them, or not at all. None where a model cannot do that.
        """

        def read(text: Tensor) -> tuple[Tensor, Reading] | None:
            reading = Reading(model)
            # A copy: the row may be a view of the logits of the whole text.
            return None if reading.rereads else (reading.advance(text).float().clone(), reading)

        with lock(model), inferring(model):
            known = self._recall(model, ids, "whole", read)
            forked = None if known is None else known[1].fork(rows)
            return None if forked is None else (known[0].repeat(rows, 1), forked)

    def below(self, model: Model, ids: Sequence[int], layer: int) -> Below | None:
        """What the blocks below block `layer` make of `ids`. None where a model cannot do that."""
        if not layer:
            return None
        with lock(model), inferring(model):
            known: Below | None = self._recall(
                model, ids, layer, lambda text: read_below(model, text, layer)
            )
            return known

    def _recall(
        self,
        model: Model,
        ids: Sequence[int],
        part: Hashable,
        read: Callable[[Int[Tensor, "1 position"]], Any],
    ) -> Any:
        """What `read` made of `ids`, now or before; None where it cannot be known."""

        def key() -> Hashable:
            now = state(model)
            return None if now is None else (id(model), tuple(ids), part, now)

        place = key()
        if place is None:
            return None
        if place not in self._known:
            found = read(torch.tensor([list(ids)], device=device_of(model)))
            if found is None:
                return None
            place = key()  # a bridge has hooks of its own from its first pass on
            self._known[place] = found
        self._known.move_to_end(place)
        while len(self._known) > self._kept:
            self._known.popitem(last=False)
        return self._known[place]
