"""What the processes of one run agree on. A process alone gets back what it gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor

T = TypeVar("T")


def alone() -> bool:
    """Whether there is only one process."""
    return not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)


def is_first() -> bool:
    """Whether this process is the one that speaks and writes for all."""
    return alone() or dist.get_rank() == 0


def together(act: Callable[[], T], device: torch.device | str = "cpu") -> T:
    """What `act` gives. If it fails in one process it fails in all, so that none waits for it."""
    error: Exception | None = None
    try:
        found = act()
    except Exception as raised:
        error = raised
    failed = bool(largest(torch.tensor(int(error is not None), device=device)))
    if error is not None:
        raise error
    if failed:
        raise RuntimeError("another process of this run cannot go on, and says why")
    return found


def total(x: Tensor) -> Tensor:
    """The sum over all processes."""
    return _reduced(x, dist.ReduceOp.SUM)


def mean(x: Tensor) -> Tensor:
    """The mean over all processes."""
    return x if alone() else total(x) / dist.get_world_size()


def largest(x: Tensor) -> Tensor:
    """The largest of all processes."""
    return _reduced(x, dist.ReduceOp.MAX)


def smallest(x: Tensor) -> Tensor:
    """The smallest of all processes."""
    return _reduced(x, dist.ReduceOp.MIN)


def joined(x: Shaped[Tensor, " some"]) -> Shaped[Tensor, " all"]:
    """The numbers of all processes, which need not have equally many; zeros may be added."""
    if alone():
        return x
    length = int(largest(torch.tensor(len(x), device=x.device)))
    padded = torch.cat([x, x.new_zeros(length - len(x))])
    parts = [torch.empty_like(padded) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, padded)
    return torch.cat(parts)


def _reduced(x: Tensor, how: dist.ReduceOp.RedOpType) -> Tensor:
    if alone():
        return x
    x = x.detach().clone()
    dist.all_reduce(x, how)
    return x
