"""How good an SAE is at standing in for the activations, measured over a whole set at once.

None of these numbers tells an SAE that found the model's concepts from one that did not: an SAE of
an untrained model reaches the same. `sae_widgets.demo.quality` measures that, on known concepts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from sae_widgets.model import Model, attached, device_of, lock
from sae_widgets.sae import SAE, Stats
from sae_widgets.training.activations import batches, marks

TILE = 8192  # vectors encoded at a time: [TILE, d_sae] is the largest thing held
BINS = 32


@dataclass(frozen=True)
class Fidelity:
    """Reconstruction and sparsity over a set of activations, special tokens left out.

    fvu: squared error as a share of the variance (both summed over the set, mean subtracted).
    l0: mean number of features that fire on a vector. dead: share of features that never fire.
    dense: share of features that fire on more than a tenth of the vectors.
    cosine: mean cosine of vector and reconstruction.
    bias: E|x_hat|^2 / E<x, x_hat>, both about the decoder's bias; below 1 means shrinkage.
    """

    fvu: float
    l0: float
    dead: float
    dense: float
    cosine: float
    bias: float
    vectors: int


@dataclass(frozen=True)
class Recovery:
    """What putting the reconstruction in place of the activations costs, in nats a token.

    ablated: the loss with every activation replaced by the mean of the set. Replacing by zero
    would break the model so thoroughly that any reconstruction would look good.
    """

    clean: float
    spliced: float
    ablated: float
    tokens: int

    @property
    def cost(self) -> float:
        """The raw increase of the loss."""
        return self.spliced - self.clean

    @property
    def recovered(self) -> float:
        """The share of the damage of mean ablation that the reconstruction avoids."""
        return (self.ablated - self.spliced) / (self.ablated - self.clean)


@torch.inference_mode()
def fidelity(sae: SAE, x: Float[Tensor, "vector d_model"]) -> Fidelity:
    """Measure reconstruction and sparsity of `sae` on `x`."""
    if len(x) < 2:
        raise ValueError(f"a variance needs at least two vectors; got {len(x)}.")
    mean = x.double().mean(0).to(x)
    error = spread = cosine = length = product = 0.0
    fired = torch.zeros(sae.W_dec.shape[0])
    for tile in torch.split(x, TILE):
        values = sae.encode(tile)
        guess = sae.decode(values, tile)
        error += (tile - guess).square().sum().item()
        spread += (tile - mean).square().sum().item()
        fired += (values > 0).sum(0)
        cosine += F.cosine_similarity(tile, guess, dim=1).sum().item()
        length += (guess - sae.b_dec).square().sum().item()
        product += ((tile - sae.b_dec) * (guess - sae.b_dec)).sum().item()
    active = fired.sum().item()
    density = fired / len(x)
    return Fidelity(
        fvu=error / spread if spread else float("nan"),
        l0=active / len(x),
        dead=(fired == 0).float().mean().item(),
        dense=(density > 0.1).float().mean().item(),
        cosine=cosine / len(x),
        bias=length / product if product else float("nan"),
        vectors=len(x),
    )


@torch.inference_mode()
def statistics(sae: SAE, x: Float[Tensor, "vector d_model"]) -> Stats:
    """How strongly and how often each feature fires on `x`: what the interface scales by."""
    peak, total, fired = (torch.zeros_like(sae.b_enc) for _ in range(3))
    for tile in torch.split(x, TILE):
        values = sae.encode(tile.to(sae.W_enc))
        peak = torch.maximum(peak, values.amax(0))
        total += values.sum(0)
        fired += (values > 0).sum(0)
    histogram = torch.zeros(sae.d_sae, BINS, dtype=torch.long, device=peak.device)
    for tile in torch.split(x, TILE):
        histogram += bins(sae.encode(tile.to(sae.W_enc)), peak)
    return Stats(
        peak=peak.cpu(),
        density=(fired / len(x)).cpu(),
        mean=(total / fired.clamp(min=1)).cpu(),
        norm=x.float().norm(dim=1).mean().item(),
        tokens=len(x),
        histogram=histogram.cpu(),
    )


def bins(
    values: Float[Tensor, "vector feature"], peak: Float[Tensor, " feature"]
) -> Int[Tensor, "feature bin"]:
    """Count each feature's non-zero values in equal bins from 0 to its peak."""
    vector, feature = values.nonzero(as_tuple=True)
    share = values[vector, feature] / peak[feature]
    place = (share * BINS).long().clamp(max=BINS - 1)
    flat = torch.bincount(feature * BINS + place, minlength=values.shape[1] * BINS)
    return flat.view(values.shape[1], BINS)


@torch.inference_mode()
def recovery(
    model: Model,
    sae: SAE,
    texts: Iterable[Sequence[int]],
    mean: Float[Tensor, " d_model"],
    *,
    special: frozenset[int] | None = None,
    batch: int = 64,
) -> Recovery:
    """The model's loss as it is, with `sae`'s reconstruction, and with `mean`, at `sae.hook`.

    Special tokens keep their activations; what is scored is how well ordinary tokens are
    predicted from ordinary tokens.
    """
    swaps: list[Callable[[Tensor], Tensor] | None] = [None, sae, lambda x: mean.to(x).expand_as(x)]
    totals = [0.0, 0.0, 0.0]
    tokens = 0
    for ids, keep in batches(texts, batch, marks(model, special)):
        scored = keep[:, :-1] & keep[:, 1:]
        for arm, swap in enumerate(swaps):
            totals[arm] += losses(model, ids, sae.hook, swap, keep)[scored].sum().item()
        tokens += int(scored.sum())
    clean, spliced, ablated = (total / tokens for total in totals)
    return Recovery(clean, spliced, ablated, tokens)


def losses(
    model: Model,
    ids: Int[Tensor, "text position"],
    hook: str,
    swap: Callable[[Tensor], Tensor] | None,
    keep: Tensor,
) -> Float[Tensor, "text prediction"]:
    """Next-token losses while `swap` replaces the activations at `hook` where `keep` is set."""

    def replace(value: Tensor) -> Tensor:
        assert swap is not None
        flat = value.flatten(2)
        return torch.where(keep.to(flat.device)[..., None], swap(flat), flat).view_as(value)

    with lock(model), attached(model, {hook: replace} if swap else {}):
        return next_token_losses(model, ids)


@torch.inference_mode()
def next_token_losses(
    model: Model, ids: Int[Tensor, "text position"]
) -> Float[Tensor, "text prediction"]:
    """How surprised the model is by each token but the first, in nats."""
    ids = ids.to(device_of(model))
    with lock(model):
        logits = model(ids).float()
    loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    return loss.view(ids.shape[0], -1).cpu()
