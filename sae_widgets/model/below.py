"""What the blocks below an edit made of a text, read once for all edits above them."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from sae_widgets.model.blocks import Below, end_of_block
from sae_widgets.model.bridge import Model, network_of
from sae_widgets.model.hooks import attached
from sae_widgets.model.interrupts import restoring
from sae_widgets.model.reading import Reading, StopForward
from sae_widgets.model.unchanged import hooked, modules_of

TRIED = 8
"""With how many tokens it is tried whether a model can go on from a block in its middle."""

_tried: weakref.WeakKeyDictionary[nn.Module, dict[tuple[int, frozenset[int]], bool]] = (
    weakref.WeakKeyDictionary()
)


def lowest_block(model: Model, hooks: Iterable[str]) -> int:
    """The first block that must run for what is done at `hooks` if those below it ran before.

    0, so that all must, where that is not known: at the embeddings, say, or without hooks.
    """
    points = model.hook_dict

    def first(hook: str) -> int:
        place = re.match(r"blocks\.(\d+)\.", hook)
        if place is None:
            return 0
        block = int(place[1])
        # The end of a block is where the next one begins.
        return block + (points.get(hook) is points.get(end_of_block(block)))

    return min(map(first, hooks), default=0)


def read_below(model: Model, ids: Int[Tensor, "1 position"], layer: int) -> Below | None:
    """Read a text with the blocks below block `layer` alone.

    None where those above cannot go on from there: in a model without a key-value cache, in one
    whose blocks share more than the residual stream, and where others have hooked into a block that
    would not run.
    """
    if Reading(model).rereads or hooked(list(model.blocks)[:layer]):
        return None
    tried = _tried.setdefault(network_of(model), {})
    goes_on = tried.get((layer, hooked(modules_of(model))))
    if goes_on is None:
        goes_on = _can_go_on(model, ids[:, :TRIED], layer)
        tried[layer, hooked(modules_of(model))] = goes_on  # a bridge adds hooks in its first pass
    return _read_below(model, ids, layer) if goes_on else None


def _can_go_on(model: Model, ids: Int[Tensor, "1 position"], layer: int) -> bool:
    """Whether block `layer` goes on from what those below made of `ids` as it does after them.

    No list of architectures says so: it is tried. With an edit where the lower blocks end, the
    logits after `ids` and after one token more are to be those of a whole pass.
    """
    more = ids[:, -1:]

    def logits(below: Below | None) -> Tensor:
        reading = Reading(model)
        return torch.stack([reading.advance(ids, below=below), reading.advance(more)])

    try:
        below = _read_below(model, ids, layer)
        with attached(model, {end_of_block(layer - 1): lambda x: x + x.roll(1, dims=-1)}):
            whole = logits(None)
            upper = logits(below)
    except Exception:  # whatever a layout that is not known here leads to
        return False
    return bool((whole - upper).abs().max() <= 1e-3 * whole.abs().max())


def _read_below(model: Model, ids: Int[Tensor, "1 position"], layer: int) -> Below:
    reading = Reading(model)
    found: list[Below] = []

    def stop(_block: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        cache = reading.cache
        if cache is None:  # one that the model has made
            cache = next(x for x in (*args, *kwargs.values()) if hasattr(x, "get_seq_length"))
        entering, *others = output if isinstance(output, tuple) else (output,)
        in_tuple = len(others) if isinstance(output, tuple) else None
        found.append(Below(layer, entering, in_tuple, cache))
        raise StopForward

    try:
        with _at_end_of(model.blocks[layer - 1], stop):
            reading.advance(ids)
    except StopForward:
        return found[0]
    raise RuntimeError(f"block {layer - 1} did not run in this forward pass")


@restoring
def _at_end_of(block: nn.Module, see: Callable[..., None]) -> Iterator[None]:
    handle = block.register_forward_hook(see, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()
