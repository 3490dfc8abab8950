"""Whether a model is still what it was: its weights, and what is hooked into its modules."""

from __future__ import annotations

import weakref
from collections.abc import Hashable, Iterable
from typing import cast

import torch
from torch import Tensor, nn

from sae_widgets.model.bridge import Model, network_of


def state(model: Model) -> Hashable:
    """Stands for what a forward pass depends on: the weights, and what is hooked into the modules.

    None while that can be different from pass to pass: while the model trains, or functions are
    attached to its hook points.
    """
    network = network_of(model)
    if network.training or any(point.fwd_hooks for point in model.hook_dict.values()):
        return None
    modules = modules_of(model)
    parameters = [p for module in modules for p in module._parameters.values() if p is not None]
    # torch counts changes in place, but not those through `.data`: most of these change a sample.
    counted = tuple((p.data_ptr(), None if p.is_inference() else p._version) for p in parameters)
    places = tuple(place for place, _ in counted)
    known = _glimpses.get(network)
    if known is None or known[0] != places:
        known = _glimpses[network] = places, [_glimpse(p.detach()) for p in parameters]
    sampled = torch.cat([numbers.flatten().float().cpu() for numbers in known[1]])
    return sampled.numpy().tobytes(), counted, hooked(modules)


def _glimpse(tensor: Tensor) -> Tensor:
    """At most 64 numbers of a tensor, as a view, so that they are what they are when looked at."""
    most = int(64 ** (1 / max(1, tensor.ndim)) + 0.5)
    return tensor[tuple(slice(None, None, max(1, -(-size // most))) for size in tensor.shape)]


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
