"""What an SAE's weights say by themselves: how alike its directions are, and whose they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from sae_widgets.model import Model
from sae_widgets.sae import SAE

TILE = 2**24
"""How many cosines are held at a time: 64 MB."""


@dataclass(frozen=True)
class Geometry:
    """How alike directions are.

    nearest: mean over features of the largest cosine with another; near 1 where features repeat
    each other. pairwise: mean |cosine| of two features; too few features a vector show as a high
    one, for each then mixes several concepts (Chanin and Garriga-Alonso 2025). reading: mean
    cosine of a feature's encoder column and its direction; NaN of a transcoder whose sides differ
    in length.
    """

    nearest: float
    pairwise: float
    reading: float


@torch.inference_mode()
def geometry(sae: SAE) -> Geometry:
    """Measure how alike the directions of `sae` are."""
    if sae.d_sae < 2:
        raise ValueError("an SAE of one feature has no two directions to compare")
    nearest = pairwise = 0.0
    for start, cosines in _cosines(sae.W_dec, sae.W_dec):
        own = torch.arange(len(cosines), device=cosines.device)
        pairwise += float(cosines.abs().sum() - cosines[own, start + own].abs().sum())
        cosines[own, start + own] = -1.0
        nearest += float(cosines.amax(1).sum())
    reading = float("nan")
    if sae.d_in == sae.d_model:
        reading = F.cosine_similarity(sae.W_enc.T.float(), sae.W_dec.float(), dim=1).mean().item()
    return Geometry(nearest / sae.d_sae, pairwise / (sae.d_sae * (sae.d_sae - 1)), reading)


@dataclass(frozen=True)
class Stability:
    """How far two SAEs, trained alike but for their seeds, found the same directions.

    nearest: mean over the features of the first of the largest cosine with one of the second.
    matched: the same if no two may have the same partner (Hungarian assignment); None where that
    was not asked for.
    """

    nearest: float
    matched: float | None


@torch.inference_mode()
def stability(one: SAE, other: SAE, *, match: bool = True) -> Stability:
    """Compare the directions of two SAEs. `match` holds all cosines at once, in 64 bits."""
    if one.d_model != other.d_model:
        raise ValueError(
            f"these SAEs write vectors of {one.d_model} and {other.d_model} numbers, so their "
            "directions cannot be compared"
        )
    parts = _cosines(one.W_dec, other.W_dec)
    if not match:
        best = [cosines.amax(1).cpu() for _, cosines in parts]
        return Stability(torch.cat(best).mean().item(), None)
    cosines = torch.cat([some.cpu() for _, some in parts])
    rows, columns = linear_sum_assignment(cosines.numpy(), maximize=True)
    return Stability(cosines.amax(1).mean().item(), float(cosines[rows, columns].mean()))


@dataclass(frozen=True, eq=False)
class Heads:
    """How much of each feature belongs to each attention head; every row sums to 1.

    write: the length of its direction's part at the head, of the lengths of all parts. read: the
    same of its encoder column.
    """

    write: Float[Tensor, "feature head"]
    read: Float[Tensor, "feature head"]


@torch.inference_mode()
def head_attribution(model: Model, sae: SAE) -> Heads:
    """Whose features those of an SAE on `hook_z` are, where heads lie side by side.

    (Kissane et al. 2024, arXiv 2406.17759.)
    """
    if not sae.hook.endswith("hook_z") or sae.is_transcoder:
        raise ValueError(
            f"heads lie side by side at attn.hook_z, and SAE {sae.name!r} is of {sae.hook!r}: "
            "only of an SAE that reads and writes there can features be told by head"
        )
    heads = int(model.cfg.n_heads)
    if sae.d_model % heads:
        raise ValueError(
            f"the {sae.d_model} numbers that SAE {sae.name!r} reads do not make {heads} equal "
            "heads; is it of another model?"
        )
    return Heads(_shares(sae.W_dec, heads), _shares(sae.W_enc.T, heads))


def _shares(rows: Float[Tensor, "feature d_model"], heads: int) -> Float[Tensor, "feature head"]:
    lengths: Tensor = rows.float().reshape(len(rows), heads, -1).norm(dim=2)
    return F.normalize(lengths, p=1, dim=1)


def _cosines(
    rows: Float[Tensor, "feature d_model"], others: Float[Tensor, "other d_model"]
) -> Iterator[tuple[int, Float[Tensor, "some other"]]]:
    """The cosines of some rows after others with all `others`, and the number of the first."""
    others = F.normalize(others.float(), dim=1)
    size = max(1, TILE // len(others))
    for start in range(0, len(rows), size):
        yield start, F.normalize(rows[start : start + size].float(), dim=1) @ others.T
