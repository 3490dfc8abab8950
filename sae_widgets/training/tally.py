"""What is counted while an SAE learns, between one line of the log and the next."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sae_widgets.training import agree

LEAST = -6
"""Densities are counted in half powers of ten, from 10^-6 to 1."""


class Tally(nn.Module):
    """Sums over steps and vectors, kept in checkpoints, so that a resumed run logs the same."""

    steps: Tensor
    loss: Tensor  # of the losses of steps
    vectors: Tensor
    error: Tensor  # of squared errors
    square: Tensor  # of squared norms
    sum: Tensor  # [d_model] of the vectors
    fired: Tensor  # [feature] vectors on which each fired

    def __init__(self, d_model: int, d_sae: int) -> None:
        super().__init__()
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("loss", torch.tensor(0.0, dtype=torch.float32))
        self.register_buffer("vectors", torch.tensor(0))
        self.register_buffer("error", torch.tensor(0.0, dtype=torch.float32))
        self.register_buffer("square", torch.tensor(0.0, dtype=torch.float32))
        self.register_buffer("sum", torch.zeros(d_model, dtype=torch.float32))
        self.register_buffer("fired", torch.zeros(d_sae, dtype=torch.long))

    def add(
        self,
        loss: Float[Tensor, ""],
        y: Float[Tensor, "vector d_model"],
        guess: Float[Tensor, "vector d_model"],
        fired: Int[Tensor, " feature"],
    ) -> None:
        """Count a step."""
        self.steps += 1
        self.loss += loss
        self.vectors += len(y)
        self.error += (y - guess).square().sum()
        self.square += y.square().sum()
        self.sum += y.sum(0)
        self.fired += fired

    def read(self) -> dict[str, Any]:
        """The figures of all processes since the last time.

        loss: its mean. fvu: squared error as a share of the variance. l0: mean number of features
        that fired on a vector. densities: how many features fired on a share of the vectors of
        10^-6 to 10^-5.5, and so on up to 1; the first number is of those that never fired.
        """
        steps, loss, vectors, error, square, whole, fired = map(agree.total, self.buffers())
        spread = square - whole.square().sum() / vectors
        found = {
            "loss": (loss / steps).item(),
            "fvu": (error / spread).item(),
            "l0": (fired.sum() / vectors).item(),
            "densities": densities(fired / vectors),
        }
        self.clear()
        return found

    def gather(self) -> None:
        """Give the sums of all processes to the first: a checkpoint keeps those that it has."""
        for buffer in self.buffers():
            buffer.copy_(agree.total(buffer))
        self.scatter()

    def scatter(self) -> None:
        """After a checkpoint was read by all processes: its sums are the first one's."""
        if not agree.is_first():
            self.clear()

    def clear(self) -> None:
        for buffer in self.buffers():
            buffer.zero_()


def densities(share: Float[Tensor, " feature"]) -> list[int]:
    """How many features never fire, and how many in each half power of ten up to always."""
    bins = -2 * LEAST
    place = (share[share > 0].log10() * 2 + bins).floor().clamp(0, bins - 1).long()
    return [int((share == 0).sum()), *torch.bincount(place.cpu(), minlength=bins).tolist()]
