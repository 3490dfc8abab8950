"""One forward pass after another, with or without a key-value cache."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_widgets.model.blocks import Below, resting
from sae_widgets.model.bridge import Model, network_of
from sae_widgets.model.facts import check_hook, check_inference, device_of
from sae_widgets.model.hooks import HookFunction, attached, lock, silent_hook
from sae_widgets.model.threads import inferring


class StopForward(Exception):
    """Raised by a hook that has seen what it wanted; the rest of the pass is not needed."""


def activations(
    model: Model, ids: Int[Tensor, "row position"], hook: str
) -> Float[Tensor, "row position ..."]:
    """The activations at `hook`. The layers above it are not run."""
    return activations_at(model, ids, [hook])[hook]


def activations_at(
    model: Model, ids: Int[Tensor, "row position"], hooks: Sequence[str]
) -> dict[str, Float[Tensor, "row ..."]]:
    """The activations at each of `hooks`, from one pass. The layers above the last are not run."""
    for hook in hooks:
        check_hook(model, hook)
    seen: dict[str, Tensor] = {}

    def keeper(hook: str) -> HookFunction:
        def keep(activation: Tensor) -> None:
            seen[hook] = activation
            if len(seen) == len(set(hooks)):
                raise StopForward

        return keep

    with lock(model), inferring(model):
        try:
            with attached(model, {hook: keeper(hook) for hook in hooks}):
                Reading(model).advance(ids)
        except StopForward:
            pass
    for hook in hooks:
        if hook not in seen:
            raise RuntimeError(silent_hook(hook))
    return seen


class Reading:
    """A text that the model reads piece by piece, keeping what it needs to go on.

    `advance` gives the logits after the newest token. With a key-value cache each token passes
    through the model once; a model without one reads everything again, with the same result.
    """

    def __init__(self, model: Model, *, cache: bool = True) -> None:
        check_inference(model)
        self._model = model
        self._network = network_of(model)
        self._wants_cache = cache
        self.cache: Any = None
        self._read: Tensor | None = None
        self._options: dict[str, Any] = {}
        self._step = self._choose()

    @property
    def rereads(self) -> bool:
        """Each pass goes over the whole text again."""
        return self._step == self._whole

    def advance(
        self, ids: Int[Tensor, "row new"], *, below: Below | None = None
    ) -> Float[Tensor, "row d_vocab"]:
        """Read `ids`; return the logits for the token after them.

        below: what the lower blocks made of `ids`, which are the beginning and alike in every row;
        these blocks do not run again.
        """
        with resting(self._model, below, len(ids)):
            logits = self._step(ids.to(device_of(self._model)))
        if below is not None:
            lower = _layers(_repeated(below.cache, len(ids)))
            _layers(self.cache)[: below.layer] = lower[: below.layer]
        return logits

    def fork(self, rows: int) -> Reading | None:
        """Of the one text read so far, `rows` that go on each in its own way.

        None where that cannot be done: without a cache, or with one of a kind not known here.
        """
        if self.rereads or (cache := _repeated(self.cache, rows)) is None:
            return None
        twin = Reading(self._model)
        twin.cache = cache
        return twin

    def _choose(self) -> Callable[[Tensor], Tensor]:
        if self._network is self._model:  # HookedTransformer
            return self._hooked if self._wants_cache else self._whole
        parameters = inspect.signature(self._network.forward).parameters
        if "logits_to_keep" in parameters:  # logits of a long prompt are mostly not looked at
            self._options["logits_to_keep"] = 1
        if self._wants_cache and "past_key_values" in parameters:
            return self._hugging_face
        return self._whole

    def _hugging_face(self, ids: Tensor) -> Tensor:
        # The network below the bridge: it fires the bridge's hooks and skips the bridge's own
        # bookkeeping, which at one token a pass costs as much as a small model.
        output = self._network(
            input_ids=ids, past_key_values=self.cache, use_cache=True, **self._options
        )
        self.cache = output.past_key_values
        logits: Tensor = output.logits[:, -1]
        return logits

    def _hooked(self, ids: Tensor) -> Tensor:
        from transformer_lens import TransformerLensKeyValueCache

        if self.cache is None:
            self.cache = TransformerLensKeyValueCache.init_cache(
                self._model.cfg, ids.device, ids.shape[0]
            )
        logits: Tensor = self._model(ids, past_kv_cache=self.cache)[:, -1]
        return logits

    def _whole(self, ids: Tensor) -> Tensor:
        self._read = ids if self._read is None else torch.cat([self._read, ids], dim=1)
        if self._network is self._model:
            output = self._model(self._read)
        else:
            output = self._network(input_ids=self._read, **self._options)
        logits: Tensor = getattr(output, "logits", output)[:, -1]
        return logits


def _repeated(cache: Any, rows: int) -> Any:
    """A copy of a key-value cache of one text that holds it `rows` times; None: cannot be done."""
    copied = copy.copy(cache)  # not a deep one: passes put new keys and values beside the old
    if hasattr(cache, "layers"):  # Hugging Face
        if not all(map(_is_keys_and_values, cache.layers)):
            return None
        copied.layers = [copy.copy(layer) for layer in cache.layers]
        for layer in copied.layers:
            layer.batch_repeat_interleave(rows)
        return copied
    if hasattr(cache, "entries"):  # HookedTransformer
        copied.entries = [copy.copy(entry) for entry in cache.entries]
        for entry in copied.entries:
            entry.past_keys = entry.past_keys.repeat_interleave(rows, 0)
            entry.past_values = entry.past_values.repeat_interleave(rows, 0)
        mask = cache.previous_attention_mask
        copied.previous_attention_mask = mask.repeat_interleave(rows, 0)
        return copied
    return None


def _is_keys_and_values(layer: Any) -> bool:
    """Whether a block keeps nothing else, such as the state of a recurrent layer."""
    return hasattr(layer, "batch_repeat_interleave") and not hasattr(layer, "recurrent_states")


def _layers(cache: Any) -> list[Any]:
    """The parts of a key-value cache, one a block; what is put in their place is used."""
    layers: list[Any] = cache.layers if hasattr(cache, "layers") else cache.entries
    return layers
