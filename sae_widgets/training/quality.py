"""How good an SAE is at standing in for the activations, measured over a whole set at once.

None of these numbers tells an SAE that found the model's concepts from one that did not: an SAE of
an untrained model reaches the same. `sae_widgets.demo.quality` measures that, on known concepts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sae_widgets.model import (
    HookFunction,
    Model,
    attached,
    begins,
    check_hook,
    context_length,
    device_of,
    lock,
)
from sae_widgets.sae import SAE, Stats
from sae_widgets.training.activations import Stream, batches, marks
from sae_widgets.training.corpus import Corpus
from sae_widgets.training.directions import Geometry, geometry
from sae_widgets.training.tally import densities

TILE = 2**21  # values [vector, feature] that are held at a time
BINS = 32


@dataclass(frozen=True)
class Fidelity:
    """Reconstruction and sparsity over a set of activations, special tokens left out.

    Of a transcoder, what it is to write takes the place of what it reads.

    fvu: squared error as a share of the variance (both summed over the set, mean subtracted).
    l0: mean number of features that fire on a vector. dead: share of features that never fire.
    dense: share of features that fire on more than a tenth of the vectors.
    cosine: mean cosine of vector and reconstruction.
    bias: E|x_hat|^2 / E<x, x_hat>, both about the decoder's bias; below 1 means shrinkage.
    length: E|x_hat| / E|x|. densities: how many features never fire, and how many fire on a share
    of the vectors of 10^-6 to 10^-5.5, and so on by half powers of ten up to always.
    """

    fvu: float
    l0: float
    dead: float
    dense: float
    cosine: float
    bias: float
    length: float
    densities: tuple[int, ...]
    vectors: int


@dataclass(frozen=True)
class Recovery:
    """What putting the reconstruction in place of the activations costs, in nats a token.

    ablated: the loss with every activation replaced by the mean of the set. Replacing by zero
    would break the model so thoroughly that any reconstruction would look good. kl: how far what
    the model predicts moves, KL(clean | spliced); kl_ablated: the same for the mean.
    """

    clean: float
    spliced: float
    ablated: float
    kl: float
    kl_ablated: float
    tokens: int

    @property
    def cost(self) -> float:
        """The raw increase of the loss."""
        return self.spliced - self.clean

    @property
    def recovered(self) -> float:
        """The share of the damage of mean ablation that the reconstruction avoids."""
        return (self.ablated - self.spliced) / (self.ablated - self.clean)

    @property
    def kl_recovered(self) -> float:
        """The share of the divergence under mean ablation that the reconstruction avoids."""
        return (self.kl_ablated - self.kl) / self.kl_ablated


@dataclass(frozen=True)
class Quality:
    """How good an SAE is, apart from whether its features mean anything."""

    fidelity: Fidelity
    recovery: Recovery
    geometry: Geometry

    def to_json(self) -> dict[str, Any]:
        """Everything in values of JSON; the ablation is named."""
        cost = self.recovery
        derived = {
            "cost": cost.cost,
            "recovered": cost.recovered,
            "kl_recovered": cost.kl_recovered,
            "ablation": "mean",
        }
        told: dict[str, Any] = asdict(self)
        told["fidelity"]["densities"] = list(self.fidelity.densities)
        return {**told, "recovery": {**told["recovery"], **derived}}


def quality(
    model: Model,
    sae: SAE,
    texts: Iterable[Any],
    *,
    column: str = "text",
    context: int = 256,
    vectors: int = 2**15,
    scored: int = 2**13,
) -> Quality:
    """Measure `sae` on what `model` makes of `texts` that it was not trained on.

    texts: strings, or records with one in their `column`; their beginning is read, up to so many
    `vectors`, of which `scored` or a few more also tell what the model loses. Texts are cut to
    `context` tokens.
    """
    check_hook(model, sae.hook)
    check_hook(model, sae.hook_out)
    length = min(context, context_length(model))
    corpus = Corpus(texts, model.tokenizer, length, column, begins(model))
    hooks = list(dict.fromkeys([sae.hook, sae.hook_out]))
    seen = Stream(model, hooks, corpus, 1, 1).sample(vectors)
    x, y = seen[sae.hook], seen[sae.hook_out]
    return Quality(
        fidelity(sae, x, y),
        recovery(model, sae, _some(corpus, scored), y.mean(0), batch=8),
        geometry(sae),
    )


def _some(corpus: Corpus, tokens: int) -> Iterator[list[int]]:
    """Contexts that hold so many tokens together, or all."""
    for ids in corpus:
        yield ids
        tokens -= len(ids)
        if tokens <= 0:
            return


@torch.inference_mode()
def fidelity(
    sae: SAE,
    x: Float[Tensor, "vector d_in"],
    y: Float[Tensor, "vector d_model"] | None = None,
) -> Fidelity:
    """Measure reconstruction and sparsity of `sae` on `x`; `y` is what a transcoder is to write."""
    if len(x) < 2:
        raise ValueError(f"a variance needs at least two vectors; got {len(x)}.")
    y = x if y is None else y
    # Sixteen bits are enough for an SAE, and not for sums.
    dtype = torch.promote_types(sae.W_dec.dtype, torch.float32)
    mean = y.double().mean(0).to(sae.W_dec.device, dtype)
    centre = sae.b_dec.to(dtype)
    error = spread = cosine = squares = product = long = true = 0.0
    fired = torch.zeros_like(sae.b_enc, dtype=torch.long)
    for read, wanted in zip(tiles(sae, x), tiles(sae, y), strict=True):
        tile, target = read.to(sae.W_enc), wanted.to(mean)
        values = sae.encode(tile)
        guess = sae.decode(values, tile).to(dtype)
        error += (target - guess).square().sum().item()
        spread += (target - mean).square().sum().item()
        fired += (values > 0).sum(0)
        cosine += F.cosine_similarity(target, guess, dim=1).sum().item()
        squares += (guess - centre).square().sum().item()
        product += ((target - centre) * (guess - centre)).sum().item()
        long += guess.norm(dim=1).sum().item()
        true += target.norm(dim=1).sum().item()
    active = fired.sum().item()
    density = fired / len(x)
    return Fidelity(
        fvu=error / spread if spread else float("nan"),
        l0=active / len(x),
        dead=(fired == 0).float().mean().item(),
        dense=(density > 0.1).float().mean().item(),
        cosine=cosine / len(x),
        bias=squares / product if product else float("nan"),
        length=long / true if true else float("nan"),
        densities=tuple(densities(density.float())),
        vectors=len(x),
    )


@torch.inference_mode()
def statistics(
    sae: SAE,
    x: Float[Tensor, "vector d_in"],
    y: Float[Tensor, "vector d_model"] | None = None,
) -> Stats:
    """How strongly and how often each feature fires on `x`: what the interface scales by.

    y: of a transcoder, what is found where it writes.
    """
    peak, total = (torch.zeros_like(sae.b_enc, dtype=torch.float32) for _ in range(2))
    fired = torch.zeros_like(sae.b_enc, dtype=torch.long)
    for tile in tiles(sae, x):
        values = sae.encode(tile.to(sae.W_enc)).float()
        peak = torch.maximum(peak, values.amax(0))
        total += values.sum(0)
        fired += (values > 0).sum(0)
    histogram = torch.zeros(sae.d_sae, BINS, dtype=torch.long, device=peak.device)
    for tile in tiles(sae, x):
        histogram += bins(sae.encode(tile.to(sae.W_enc)).float(), peak)
    return Stats(
        peak=peak.cpu(),
        density=(fired / len(x)).cpu(),
        mean=(total / fired.clamp(min=1)).cpu(),
        norm=(x if y is None else y).float().norm(dim=1).mean().item(),
        tokens=len(x),
        histogram=histogram.cpu(),
    )


def tiles(sae: SAE, x: Tensor) -> Sequence[Tensor]:
    """Vectors in groups that are encoded at a time, few where the SAE is wide."""
    return torch.split(x, max(1, TILE // sae.d_sae))


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
    """The model's loss as it is, with what `sae` writes, and with `mean`, at `sae.hook_out`.

    Special tokens keep their activations; what is scored is how well ordinary tokens are
    predicted from ordinary tokens.
    """
    losses, moved = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
    tokens = 0
    for ids, keep in batches(texts, batch, marks(model, special)):
        scored = keep[:, :-1] & keep[:, 1:]
        tokens += int(scored.sum())
        ids, here, next_ids = ids.to(device_of(model)), scored.to(device_of(model)), ids[:, 1:]
        clean = None
        for arm, hooks in enumerate(({}, _spliced(sae, keep), _ablated(sae, mean, keep))):
            with lock(model), attached(model, hooks):
                log = model(ids)[:, :-1][here].float().log_softmax(-1)
            clean = log if clean is None else clean
            wanted = next_ids[scored].to(log.device)
            losses[arm] -= log.gather(1, wanted[:, None]).sum().item()
            moved[arm] += (clean.exp() * (clean - log)).sum().item()
    if not tokens:
        raise ValueError("the texts have no ordinary token behind another, so nothing is predicted")
    clean_loss, spliced, ablated = (total / tokens for total in losses)
    _, kl, kl_ablated = (total / tokens for total in moved)
    return Recovery(clean_loss, spliced, ablated, kl, kl_ablated, tokens)


def _spliced(sae: SAE, keep: Bool[Tensor, "text position"]) -> dict[str, HookFunction]:
    """Hooks that put what `sae` writes in place of what is there, where `keep` is set."""
    read: list[Tensor] = []

    def hold(value: Tensor) -> None:
        read.append(value.flatten(2))

    def replace(value: Tensor) -> Tensor:
        x = read.pop() if sae.is_transcoder else value.flatten(2)
        return _put(value, sae(x.to(sae.W_enc)), keep)

    return {sae.hook: hold, sae.hook_out: replace} if sae.is_transcoder else {sae.hook: replace}


def _ablated(
    sae: SAE, mean: Float[Tensor, " d_model"], keep: Bool[Tensor, "text position"]
) -> dict[str, HookFunction]:
    """Hooks that put `mean` where `sae` writes."""
    return {sae.hook_out: lambda value: _put(value, mean.expand(*value.shape[:2], -1), keep)}


def _put(value: Tensor, new: Tensor, keep: Bool[Tensor, "text position"]) -> Tensor:
    flat = value.flatten(2)
    return torch.where(keep.to(flat.device)[..., None], new.to(flat), flat).view_as(value)


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
