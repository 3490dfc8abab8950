"""Sums over the features that fire alone, forward and backward, on a processor.

Of a batch's values all but `k` a vector are zero, and a training step that multiplies by these
zeros wastes four of its five matrix products. `embedding_bag` sums the few directions of each
vector instead; the gradients of the weights are the same sums with the parts of vectors and
features exchanged. tests/benchmarks/training.py measures what that saves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Places:
    """Where features fire in a batch, sorted by vector."""

    vector: Int[Tensor, " firing"]
    feature: Int[Tensor, " firing"]
    vectors: int
    features: int

    @cached_property
    def of_vector(self) -> Int[Tensor, " vector"]:
        """Where the firings of each vector begin."""
        return torch.searchsorted(self.vector, torch.arange(self.vectors))

    @cached_property
    def of_feature(self) -> tuple[Int[Tensor, " firing"], Int[Tensor, " feature"]]:
        """The order that sorts the firings by feature, and where in it those of each begin."""
        order = self.feature.argsort(stable=True)
        return order, torch.searchsorted(self.feature[order], torch.arange(self.features))

    def within(self, start: int, end: int) -> tuple[Int[Tensor, " some"], Places]:
        """Which firings are of the features from `start` to `end`, and these, numbered from 0."""
        here = ((self.feature >= start) & (self.feature < end)).nonzero().squeeze(1)
        places = Places(self.vector[here], self.feature[here] - start, self.vectors, end - start)
        return here, places


class Encode(torch.autograd.Function):
    """(x @ W_enc + b_enc)[vector, feature] at some places."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Tensor:
        x, W_enc, _, places, value = given
        ctx.save_for_backward(x, W_enc)
        ctx.places = places
        return value.clone()  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        x, W_enc = ctx.saved_tensors
        (toward,) = upstream
        places: Places = ctx.places
        toward_x = summed(places, toward, W_enc.T) if ctx.needs_input_grad[0] else None
        toward_bias = toward.new_zeros(places.features).index_add_(0, places.feature, toward)
        return toward_x, exchanged(places, toward, x).T, toward_bias, None, None


class Decode(torch.autograd.Function):
    """values[:, start:end] @ W_dec[start:end] for each run of features."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        value, W_dec, places, ends = given
        ctx.save_for_backward(value, W_dec)
        starts = [0, *ends[:-1]]
        ctx.runs = [(s, e, *places.within(s, e)) for s, e in zip(starts, ends, strict=True)]
        return tuple(summed(some, value[here], W_dec[s:e]) for s, e, here, some in ctx.runs)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        value, W_dec = ctx.saved_tensors
        toward_value = torch.zeros_like(value)
        toward_rows = []
        for toward, (start, end, here, places) in zip(upstream, ctx.runs, strict=True):
            toward_value[here] = products(places, toward, W_dec[start:end])
            if ctx.needs_input_grad[1]:
                toward_rows.append(exchanged(places, value[here], toward))
        return toward_value, joined(toward_rows), None, None


def joined(rows: Sequence[Float[Tensor, "_ d_model"]]) -> Float[Tensor, "feature d_model"] | None:
    """One after the other, None if there are none; what is one already is not copied."""
    if not rows:
        return None
    return rows[0] if len(rows) == 1 else torch.cat(list(rows))


def encode(
    x: Float[Tensor, "vector d_in"],
    W_enc: Float[Tensor, "d_in feature"],
    b_enc: Float[Tensor, " feature"],
    places: Places,
    value: Float[Tensor, " firing"],
) -> Float[Tensor, " firing"]:
    """The values at these places, which are known to be `value`, with their gradient."""
    found: Tensor = Encode.apply(x, W_enc, b_enc, places, value)  # type: ignore[no-untyped-call]
    return found


def decode(
    value: Float[Tensor, " firing"],
    W_dec: Float[Tensor, "feature d_model"],
    places: Places,
    ends: Sequence[int],
) -> tuple[Float[Tensor, "vector d_model"], ...]:
    """What the features of each run (up to each of `ends`, the last of them all) add up to."""
    found: tuple[Tensor, ...] = Decode.apply(value, W_dec, places, ends)  # type: ignore[no-untyped-call]
    return found


def summed(
    places: Places, value: Float[Tensor, " firing"], rows: Float[Tensor, "feature d"]
) -> Float[Tensor, "vector d"]:
    """For each vector the sum of the rows of its features, times their values."""
    return F.embedding_bag(
        places.feature, rows.contiguous(), places.of_vector, mode="sum", per_sample_weights=value
    )


def exchanged(
    places: Places, value: Float[Tensor, " firing"], x: Float[Tensor, "vector d"]
) -> Float[Tensor, "feature d"]:
    """For each feature the sum of the vectors on which it fires, times its values there."""
    order, begin = places.of_feature
    return F.embedding_bag(
        places.vector[order], x.contiguous(), begin, mode="sum", per_sample_weights=value[order]
    )


def products(
    places: Places, x: Float[Tensor, "vector d"], rows: Float[Tensor, "feature d"]
) -> Float[Tensor, " firing"]:
    """At each place the product of the vector and the feature's row.

    That is the gradient of `summed` by its values, for which torch has a fast kernel.
    """
    with torch.enable_grad():
        value = x.new_zeros(len(places.feature), requires_grad=True)
        total = summed(places, value, rows.detach())
    return torch.autograd.grad(total, value, x.contiguous())[0]
