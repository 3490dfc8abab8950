"""One thread for a small model: several cost more in waiting for each other than they save.

On a busy machine it is the rule and not the exception that one of torch's threads is not running
when the others have done their share. A small model has so little to share that a token then takes
ten times as long (`tests/benchmarks/threads.py`).
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch import nn

from sae_widgets.model.bridge import Model, network_of
from sae_widgets.model.interrupts import restoring

SMALL = 10_000_000
"""Parameters up to which a model runs on one thread."""


@restoring
def inferring(model: Model | None = None) -> Iterator[None]:
    """As `torch.inference_mode()`, which an interrupt at its end would leave on for good.

    A small `model` runs on one thread meanwhile; afterwards there are as many as before. torch
    counts them for each thread of Python by itself.
    """
    before = torch.get_num_threads()
    one = before > 1 and model is not None and _parameters(network_of(model)) <= SMALL
    if one:
        torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        if one:
            torch.set_num_threads(before)


_counted: weakref.WeakKeyDictionary[nn.Module, int] = weakref.WeakKeyDictionary()


def _parameters(network: nn.Module) -> int:
    if network not in _counted:
        _counted[network] = sum(parameter.numel() for parameter in network.parameters())
    return _counted[network]
