"""What a sparse autoencoder is trained to do: reconstruct its input from few features.

Both objectives are BatchTopK (Bussmann et al. 2024): of all pre-activations of a batch of `n`
vectors the `k * n` largest are kept, so a hard vector may use more features than an easy one.
`Matryoshka` (Bussmann et al. 2025) also asks every prefix of the dictionary to reconstruct alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae_widgets.sae import SAE


@dataclass(frozen=True)
class Outcome:
    """What one batch says: the loss to follow, and what the trainer keeps count of."""

    loss: Float[Tensor, ""]
    values: Float[Tensor, "vector feature"]
    threshold: Float[Tensor, ""]  # the smallest value that was kept


@runtime_checkable
class Objective(Protocol):
    """Judge an SAE on one batch. `dead` marks the features that have not fired for long."""

    @property
    def k(self) -> int: ...

    def __call__(
        self, sae: SAE, x: Float[Tensor, "vector d_model"], dead: Bool[Tensor, " feature"]
    ) -> Outcome: ...


@dataclass(frozen=True)
class BatchTopK:
    """Squared error with `k` features a vector on average, and a rescue for dead features.

    `rescue` weighs the auxiliary loss of Gao et al. 2024: the strongest dead features reconstruct
    what the living ones missed, which gives them a gradient to come back by.
    """

    k: int
    rescue: float = 1 / 32

    def __post_init__(self) -> None:
        check_k(self.k)

    def __call__(
        self, sae: SAE, x: Float[Tensor, "vector d_model"], dead: Bool[Tensor, " feature"]
    ) -> Outcome:
        return judge(sae, x, dead, self.k, self.rescue, prefixes=())


@dataclass(frozen=True)
class Matryoshka:
    """BatchTopK in which the first `prefixes[0]`, `prefixes[1]`, ... features suffice alone.

    The last prefix is the whole dictionary. All prefixes weigh the same.
    """

    k: int
    prefixes: tuple[int, ...]
    rescue: float = 1 / 32

    def __post_init__(self) -> None:
        check_k(self.k)
        if not self.prefixes or list(self.prefixes) != sorted(set(self.prefixes)):
            raise ValueError(
                f"Matryoshka prefixes must grow, and end with the dictionary's width; "
                f"got {self.prefixes}. For 256 features, for example, (32, 64, 128, 256)."
            )

    def __call__(
        self, sae: SAE, x: Float[Tensor, "vector d_model"], dead: Bool[Tensor, " feature"]
    ) -> Outcome:
        if self.prefixes[-1] != sae.W_dec.shape[0]:
            raise ValueError(
                f"the last Matryoshka prefix is {self.prefixes[-1]}, but the dictionary has "
                f"{sae.W_dec.shape[0]} features; they must be equal."
            )
        return judge(sae, x, dead, self.k, self.rescue, prefixes=self.prefixes)


def judge(
    sae: SAE,
    x: Float[Tensor, "vector d_model"],
    dead: Bool[Tensor, " feature"],
    k: int,
    rescue: float,
    prefixes: Sequence[int],
) -> Outcome:
    """Loss of one batch, in units of the mean squared norm that the inputs are scaled to.

    Expects inputs with E[|x|^2] = d_model, so that the loss is about 1 before training.
    """
    pre = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).relu()
    values, threshold = strongest(pre, k)
    partial = sae.b_dec.expand_as(x)
    errors = []
    start = 0
    for end in prefixes or [values.shape[1]]:
        partial = partial + values[:, start:end] @ sae.W_dec[start:end]
        errors.append((x - partial).square().mean())
        start = end
    loss = torch.stack(errors).mean()
    if rescue and bool(dead.any()):
        missed = (x - partial).detach()
        loss = loss + rescue * rescue_loss(missed, pre, dead, sae.W_dec)
    return Outcome(loss, values, threshold)


def strongest(
    pre: Float[Tensor, "vector feature"], k: int
) -> tuple[Float[Tensor, "vector feature"], Float[Tensor, ""]]:
    """Keep the `k * vectors` largest positive values of the batch; also return the smallest kept.

    Values that tie with the smallest are kept too.
    """
    flat = pre.detach().flatten()
    keep = min(k * pre.shape[0], flat.numel())
    if flat.device.type == "cpu":  # numpy's partition is 5 times faster than torch's topk here
        place = flat.numel() - keep
        smallest = torch.tensor(float(np.partition(flat.numpy(), place)[place]))
    else:
        smallest = flat.topk(keep, sorted=False).values.min()
    smallest = smallest.to(pre).clamp(min=torch.finfo(pre.dtype).tiny)
    return torch.where(pre >= smallest, pre, 0.0), smallest


def rescue_loss(
    missed: Float[Tensor, "vector d_model"],
    pre: Float[Tensor, "vector feature"],
    dead: Bool[Tensor, " feature"],
    W_dec: Float[Tensor, "feature d_model"],
) -> Float[Tensor, ""]:
    """How badly the strongest d_model / 2 dead features reconstruct what the others missed.

    1 is as bad as predicting the mean of `missed`. Zero where nothing was missed.
    """
    index = dead.nonzero().squeeze(1)
    pre = pre[:, index]
    count = min(missed.shape[1] // 2, len(index))
    best = pre.topk(count, dim=1)
    values = torch.zeros_like(pre).scatter(1, best.indices, best.values)
    error = (missed - values @ W_dec[index]).square().mean()
    spread = (missed - missed.mean(0)).square().mean()
    return torch.nan_to_num(error / spread, nan=0.0, posinf=0.0)


def check_k(k: int) -> None:
    """Raise unless `k` can be a number of features."""
    if k < 1:
        raise ValueError(
            f"k is the mean number of features that fire on a vector: at least 1, got {k}."
        )
