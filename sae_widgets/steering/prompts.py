"""Prompts that were read before, so that a slider that moves does not have them read again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from sae_widgets.model import Model, Reading, device_of, lock, state


class Prompts:
    """What a model made of the newest prompts that it read with nothing edited.

    Runs that edit only what is written go on from there. A prompt is read again when the model's
    weights have changed or a hook was added, and nothing is remembered under hooks of others (see
    `sae_widgets.model.state`; a module that computes otherwise with the same weights, such as an
    adapter switched off, is not noticed). `kept` is how many are held, each with the keys and
    values of all its tokens.
    """

    def __init__(self, kept: int = 2) -> None:
        self._kept = kept
        self._known: OrderedDict[Hashable, tuple[Tensor, Reading]] = OrderedDict()

    def begin(
        self, model: Model, ids: Sequence[int], rows: int
    ) -> tuple[Float[Tensor, "row d_vocab"], Reading] | None:
        """The logits after `ids` for `rows` texts that all begin so, and the reading to go on with.

        The prompt is read once for all of them, or not at all. None where a model cannot do that.
        """
        with lock(model), torch.inference_mode():
            now = state(model)
            if now is None:
                return None
            key = (id(model), tuple(ids), now)
            if key not in self._known:
                reading = Reading(model)
                if reading.rereads:
                    return None
                read = reading.advance(torch.tensor([list(ids)], device=device_of(model)))
                # A bridge has hooks of its own from its first pass on.
                key = (id(model), tuple(ids), state(model))
                # A copy: the row may be a view of the logits of the whole prompt.
                self._known[key] = (read.float().clone(), reading)
            self._known.move_to_end(key)
            logits, reading = self._known[key]
            while len(self._known) > self._kept:
                self._known.popitem(last=False)
            forked = reading.fork(rows)
            if forked is None:
                del self._known[key]
                return None
            return logits.repeat(rows, 1), forked
