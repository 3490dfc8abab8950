"""Which features fire on the vectors of a batch, and what they add up to.

A `Code` is the outcome of a choice among a batch's pre-activations; a `Chooser` makes it. Both
come in two kinds with one meaning: dense, as matrices, and sparse (see `sparse`), which pays on a
processor when few of many features fire. The sparse kind never holds [vector, feature]: it makes
pre-activations tile by tile and keeps what may fire.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_widgets.sae import SAE
from sae_widgets.training import agree
from sae_widgets.training.sparse import Places, decode, encode

WIDE = 1024
RARE = 16
"""Sparse sums pay from so many features on, if at most one in so many fires."""
TILE = 2**22
"""How many pre-activations are held at a time: 16 MB. With fewer, their product is slower."""


@runtime_checkable
class Code(Protocol):
    """The values of the features that fire on each vector."""

    def parts(
        self, W_dec: Float[Tensor, "feature d_model"], ends: Sequence[int]
    ) -> Sequence[Float[Tensor, "vector d_model"]]:
        """What the features of each run (up to each of `ends`, the last of them all) add up to."""
        ...

    def fired(self) -> Int[Tensor, " feature"]:
        """On how many vectors each feature fires."""
        ...


@runtime_checkable
class Chooser(Protocol):
    """Chooses what fires on the vectors of one batch. Only positive values do."""

    def of_each(self, counts: Sequence[int]) -> list[Code]:
        """For each count the code that keeps so many of the largest values of each vector."""
        ...

    def of_all(self, count: int) -> tuple[Code, Float[Tensor, ""]]:
        """The `count` largest values of the batch, and the smallest of these; ties are kept."""
        ...

    def among(self, features: Int[Tensor, " some"], count: int) -> Code:
        """The `count` largest values of each vector among those of `features`."""
        ...


def chooser(
    sae: SAE, x: Float[Tensor, "vector d_in"], per_vector: int
) -> DenseChooser | SparseChooser:
    """The kind that pays where `per_vector` features are to fire on a vector."""
    pays = x.device.type == "cpu" and sae.d_sae >= max(WIDE, RARE * per_vector)
    centred = x - sae.b_dec if sae.pre_bias else x
    if pays and not torch.is_autocast_enabled("cpu"):
        return SparseChooser(centred, sae.W_enc, sae.b_enc)
    return DenseChooser((centred @ sae.W_enc + sae.b_enc).relu())


# Dense


@dataclass(frozen=True)
class DenseCode:
    values: Float[Tensor, "vector feature"]

    def parts(self, W_dec: Tensor, ends: Sequence[int]) -> list[Tensor]:
        starts = [0, *ends[:-1]]
        runs = zip(starts, ends, strict=True)
        return [self.values[:, start:end] @ W_dec[start:end] for start, end in runs]

    def fired(self) -> Tensor:
        return (self.values > 0).sum(0)


@dataclass(frozen=True)
class DenseChooser:
    pre: Float[Tensor, "vector feature"]  # none below zero

    def of_each(self, counts: Sequence[int]) -> list[Code]:
        best = self.pre.topk(max(counts), dim=1)
        return [
            DenseCode(
                torch.zeros_like(self.pre).scatter(
                    1, best.indices[:, :count], best.values[:, :count]
                )
            )
            for count in counts
        ]

    def of_all(self, count: int) -> tuple[Code, Tensor]:
        smallest = kth_largest(self.pre.detach().flatten().float(), count).to(self.pre)
        return DenseCode(torch.where(self.pre >= smallest, self.pre, 0.0)), smallest

    def among(self, features: Tensor, count: int) -> Code:
        return DenseChooser(self.pre[:, features]).of_each([count])[0]


# Sparse


@dataclass(frozen=True)
class SparseCode:
    places: Places
    values: Float[Tensor, " firing"]

    def parts(self, W_dec: Tensor, ends: Sequence[int]) -> tuple[Tensor, ...]:
        return decode(self.values, W_dec, self.places, ends)

    def fired(self) -> Tensor:
        return torch.bincount(self.places.feature, minlength=self.places.features)


@dataclass(frozen=True)
class SparseChooser:
    x: Float[Tensor, "vector d_in"]
    W_enc: Float[Tensor, "d_in feature"]
    b_enc: Float[Tensor, " feature"]

    def of_each(self, counts: Sequence[int]) -> list[Code]:
        found = [pre.topk(max(counts), dim=1) for _, pre in self._tiles()]
        feature = torch.cat([best.indices for best in found])
        value = torch.cat([best.values for best in found])
        codes: list[Code] = []
        for count in counts:
            vector, rank = (value[:, :count] > 0).nonzero(as_tuple=True)
            codes.append(self._code(vector, feature[vector, rank], value[vector, rank]))
        return codes

    def of_all(self, count: int) -> tuple[Code, Tensor]:
        place, value = self._candidates(count)
        smallest = kth_largest(value, count)
        here = value >= smallest
        vector, feature = place[here] // len(self.b_enc), place[here] % len(self.b_enc)
        return self._code(vector, feature, value[here]), smallest

    def among(self, features: Tensor, count: int) -> Code:
        some = SparseChooser(self.x, self.W_enc[:, features], self.b_enc[features])
        return some.of_each([count])[0]

    def _candidates(self, count: int) -> tuple[Int[Tensor, " some"], Float[Tensor, " some"]]:
        """Values that may be among the `count` largest of all processes, and their flat places.

        The first tile tells about how large those are. Should that have been too much, all
        positive values are looked at.
        """
        share = count / agree.total(torch.tensor(float(len(self.x))))
        _, first = next(self._tiles())
        wanted = min(first.numel(), int(1.5 * share * len(first)) + 1)
        floor = agree.smallest(kth(first.flatten(), wanted).clamp(min=0.0))
        place, value = self._above(float(floor))
        if agree.total(torch.tensor(len(value))) < count and floor > 0:
            return self._above(0.0)
        return place, value

    def _above(self, floor: float) -> tuple[Tensor, Tensor]:
        places, values = [], []
        for start, pre in self._tiles():
            flat = pre.flatten()
            here = torch.from_numpy(np.flatnonzero(flat.numpy() > floor))  # 6 x torch's nonzero
            places.append(here + start * len(self.b_enc))
            values.append(flat[here])
        return torch.cat(places), torch.cat(values)

    def _tiles(self) -> Iterator[tuple[int, Float[Tensor, "some feature"]]]:
        """The pre-activations of some vectors after others, and the number of the first.

        All lie in the same memory: each is to be read before the next is asked for.
        """
        rows = max(1, min(len(self.x), TILE // len(self.b_enc)))
        held = self.x.new_empty(rows, len(self.b_enc))
        for start in range(0, len(self.x), rows):
            x = self.x[start : start + rows]
            with torch.no_grad():
                pre = torch.addmm(self.b_enc, x, self.W_enc, out=held[: len(x)])
            yield start, pre

    def _code(self, vector: Tensor, feature: Tensor, value: Tensor) -> Code:
        places = Places(vector, feature, len(self.x), len(self.b_enc))
        return SparseCode(places, encode(self.x, self.W_enc, self.b_enc, places, value))


def kth_largest(values: Float[Tensor, " value"], count: int) -> Float[Tensor, ""]:
    """The `count`-th largest number of all processes, or the smallest positive number there is.

    That is the least that can be kept: nothing fires with zero.
    """
    if not agree.alone():
        values = values.topk(min(count, len(values)), sorted=False).values
        values = agree.joined(values)
    count = min(count, len(values))
    tiny = torch.finfo(values.dtype).tiny
    return kth(values, count).clamp(min=tiny) if count else values.new_tensor(tiny)


def kth(values: Float[Tensor, " value"], count: int) -> Float[Tensor, ""]:
    """The `count`-th largest of these."""
    if values.device.type == "cpu":  # numpy's partition is 5 times faster than torch's topk here
        place = len(values) - count
        return values.new_tensor(float(np.partition(values.numpy(), place)[place]))
    return values.topk(count, sorted=False).values.min()
