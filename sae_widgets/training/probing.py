"""Whether a few features know what a label says: k-sparse probing (Gurnee et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize
from scipy.stats import rankdata
from torch import Tensor

from sae_widgets.sae import SAE
from sae_widgets.training.quality import tiles

DECAY = 1e-3
"""How strongly weights of a probe are drawn to zero; their inputs have a deviation of 1."""


@dataclass(frozen=True)
class Probe:
    """How well features tell two kinds of vectors apart, on vectors that had no say in it.

    auroc: by how many features, the chance that a vector that has the label scores higher than
    one that has not. features: those that the largest of these probes reads, the best first.
    dense: the same of a probe on the activations themselves.
    """

    auroc: dict[int, float]
    features: tuple[int, ...]
    dense: float


def probe(
    sae: SAE,
    x: Float[Tensor, "vector d_in"],
    labels: Bool[Tensor, " vector"],
    counts: Sequence[int] = (1, 2, 5),
) -> Probe:
    """Fit logistic regressions on the first half of the vectors, and score them on the second.

    They read the features whose mean differs most between the vectors of the first half that have
    the label and those that have not. Vectors of one text should not be in both halves.
    """
    if min(counts) < 1 or max(counts) > sae.d_sae:
        raise ValueError(f"a probe reads 1 to {sae.d_sae} features of this SAE; got {counts}")
    half = len(x) // 2
    for what, part in (("first", labels[:half]), ("second", labels[half:])):
        if part.all() or not part.any():
            raise ValueError(
                f"in the {what} half {int(part.sum())} of {len(part)} vectors have the label; to "
                "tell them apart some must have it and some not"
            )
    labels = labels.cpu()
    best = ranked(sae, x[:half], labels[:half])[: max(counts)]
    values = torch.cat([some[:, best] for some in encoded(sae, x)])
    found = {count: _scored(values[:, :count], labels, half) for count in sorted(set(counts))}
    return Probe(found, tuple(best.tolist()), _scored(x.float().cpu(), labels, half))


@torch.inference_mode()
def encoded(sae: SAE, x: Float[Tensor, "vector d_in"]) -> Iterator[Float[Tensor, "some feature"]]:
    """The values of all features, a few vectors at a time."""
    for tile in tiles(sae, x):
        yield sae.encode(tile.to(sae.W_enc)).float().cpu()


def ranked(
    sae: SAE, x: Float[Tensor, "vector d_in"], labels: Bool[Tensor, " vector"]
) -> Int[Tensor, " feature"]:
    """Features, the one first whose mean differs most with the label."""
    sums = torch.zeros(2, sae.d_sae)
    for values, has in zip(encoded(sae, x), tiles(sae, labels), strict=True):
        sums += torch.stack([values[has].sum(0), values[~has].sum(0)])
    apart = (sums[0] / labels.sum() - sums[1] / (~labels).sum()).abs()
    return apart.argsort(descending=True, stable=True)


def auroc(scores: Float[Tensor, " vector"], labels: Bool[Tensor, " vector"]) -> float:
    """The chance that what has the label scores higher than what has not; ties count half."""
    ranks = rankdata(scores.numpy())
    has = labels.numpy()
    pairs = has.sum() * (~has).sum()
    return float((ranks[has].sum() - has.sum() * (has.sum() + 1) / 2) / pairs)


def _scored(x: Float[Tensor, "vector d"], labels: Bool[Tensor, " vector"], half: int) -> float:
    deviation = x[:half].std(0).clamp(min=1e-6)
    x = (x - x[:half].mean(0)) / deviation
    return auroc(x[half:] @ logistic(x[:half], labels[:half]), labels[half:])


def logistic(x: Float[Tensor, "vector d"], labels: Bool[Tensor, " vector"]) -> Float[Tensor, " d"]:
    """The weights of a logistic regression with a bias, and `DECAY` times their squares."""
    rows = np.hstack([x.double().numpy(), np.ones((len(x), 1))])
    sign = np.where(labels.numpy(), 1.0, -1.0)
    drawn = np.append(np.full(x.shape[1], DECAY), 0.0)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (rows @ weights)
        value = np.logaddexp(0, -margin).mean() + (drawn * weights**2).sum()
        slope = -(sign / (1 + np.exp(np.clip(margin, -500, 500)))) @ rows / len(rows)
        return float(value), slope + 2 * drawn * weights

    found = minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B")
    return torch.tensor(found.x[:-1], dtype=torch.float32)
