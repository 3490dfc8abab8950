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
    """Sums over vectors; they are kept in checkpoints, so that a resumed run logs the same."""

    vectors: Tensor
    error: Tensor  # of squared errors
    square: Tensor  # of squared norms
    sum: Tensor  # [d_model] of the vectors
    fired: Tensor  # [feature] vectors on which each fired

    def __init__(self, d_model: int, d_sae: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.tensor(0))
        self.register_buffer("error", torch.tensor(0.0))
        self.register_buffer("square", torch.tensor(0.0))
        self.register_buffer("sum", torch.zeros(d_model))
        self.register_buffer("fired", torch.zeros(d_sae, dtype=torch.long))

    def add(
        self,
        y: Float[Tensor, "vector d_model"],
        guess: Float[Tensor, "vector d_model"],
        fired: Int[Tensor, " feature"],
    ) -> None:
        """Count a batch."""
        self.vectors += len(y)
        self.error += (y - guess).square().sum()
        self.square += y.square().sum()
        self.sum += y.sum(0)
        self.fired += fired

    def read(self) -> dict[str, Any]:
        """The figures of all processes since the last time.

        fvu: squared error as a share of the variance. l0: mean number of features that fired on a
        vector. densities: how many features fired on a share of the vectors of 10^-6 to 10^-5.5,
        and so on up to 1; the first number is of those that never fired.
        """
        vectors, error, square, whole, fired = (
            agree.total(each)
            for each in (self.vectors, self.error, self.square, self.sum, self.fired)
        )
        spread = square - whole.square().sum() / vectors
        found = {
            "fvu": (error / spread).item(),
            "l0": (fired.sum() / vectors).item(),
            "densities": densities(fired / vectors),
        }
        for buffer in self.buffers():
            buffer.zero_()
        return found


def densities(share: Float[Tensor, " feature"]) -> list[int]:
    """How many features never fire, and how many in each half power of ten up to always."""
    bins = -2 * LEAST
    place = (share[share > 0].log10() * 2 + bins).floor().clamp(0, bins - 1).long()
    return [int((share == 0).sum()), *torch.bincount(place.cpu(), minlength=bins).tolist()]
