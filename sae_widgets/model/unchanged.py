"""Whether a model is still what it was: its weights, and what is hooked into its modules."""

from __future__ import annotations

import math
import weakref
from collections.abc import Hashable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

from sae_widgets.model.bridge import Model, network_of


def state(model: Model) -> Hashable:
    """Stands for what a forward pass depends on: the weights, and what is hooked into the modules.

    None while that can be different from pass to pass: while functions are attached to its hook
    points. A change of weights is noticed if torch counts it, or if it is of a whole row or column.
    """
    network = network_of(model)
    if any(point.fwd_hooks for point in model.hook_dict.values()):
        return None
    modules = modules_of(model)
    held = [each for m in modules for each in (*m._parameters.values(), *m._buffers.values())]
    parameters = [each for each in held if each is not None]
    # torch counts changes in place, but not those through `.data`, which are looked for: all would
    # take as long as writing a token, a number of each row and column takes a tenth of that.
    counted = tuple((p.data_ptr(), None if p.is_inference() else p._version) for p in parameters)
    places = tuple(place for place, _ in counted)
    known = _glimpses.get(network)
    if known is None or known[0] != places:
        known = _glimpses[network] = places, [_glimpse(p.detach()) for p in parameters]
    sampled = torch.cat([numbers.flatten().float().cpu() for numbers in known[1]])
    return sampled.numpy().tobytes(), counted, hooked(modules)


def _glimpse(tensor: Tensor) -> Tensor:
    """A number of every row and every column, as a view, so that it is as it is when looked at."""
    if tensor.ndim == 2 and not tensor.is_contiguous():
        tensor = tensor.T
    if tensor.ndim < 2 or not tensor.is_contiguous():
        return tensor
    width = tensor.shape[-1]
    # Steps that are shorter than a row leave none out, and if they share no divisor with its length
    # they come to every place in one before they come to any again.
    step = min(width - 1, tensor.numel() // max(1, width))
    while step > 1 and math.gcd(step, width) > 1:
        step -= 1
    return tensor.view(-1)[:: max(1, step)]


# To take them anew would be most of what `state` takes. They keep the memory of the weights from
# being given to others, so that what is in one place is the same weights.
_glimpses: weakref.WeakKeyDictionary[nn.Module, tuple[tuple[int, ...], list[Tensor]]] = (
    weakref.WeakKeyDictionary()
)


def hooked(modules: Iterable[nn.Module]) -> frozenset[int]:
    """What is hooked into modules: each hook has a number of its own."""
    return frozenset(hook for m in modules for hook in (*m._forward_pre_hooks, *m._forward_hooks))


def modules_of(model: Model) -> list[nn.Module]:
    """All modules of the model and its network, in a third of the time of `.modules()`."""
    found: dict[int, nn.Module] = {}
    left = [network_of(model), cast(nn.Module, model)]
    while left:
        module = left.pop()
        if id(module) not in found:
            found[id(module)] = module
            left += [child for child in module._modules.values() if child is not None]
    return list(found.values())
