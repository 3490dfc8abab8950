"""Which features fire on which tokens: a sparse token × feature record, and how it is captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sae_widgets.model import Model, activations, check_tokens, context_length, device_of, inferring
from sae_widgets.sae import SAE
from sae_widgets.tokens import special_mask

TILE = 2**24
"""The most values of the encoder held densely at a time: 64 MB."""


@dataclass(frozen=True)
class Summary:
    """How the features that fire somewhere in a text fire in it; one row a feature, by number.

    Special tokens do not count, neither as tokens nor as places where a feature fires.
    """

    feature: Int[Tensor, " row"]
    max: Float[Tensor, " row"]
    mean: Float[Tensor, " row"]
    """Mean value over the tokens where it fires."""
    share: Float[Tensor, " row"]
    """Share of the text's tokens on which it fires."""


@dataclass(frozen=True)
class Features:
    """The features of one text: one (position, feature, value) for each value above zero.

    Entries are sorted by position, then by feature. Special tokens have none.
    """

    ids: Int[Tensor, " position"]
    special: Bool[Tensor, " position"]
    position: Int[Tensor, " entry"]
    feature: Int[Tensor, " entry"]
    value: Float[Tensor, " entry"]
    explained: Float[Tensor, " position"]
    """How much of each activation's squared distance from `b_dec` the features account for.

    Of a transcoder these are the activations that it predicts, those at `hook_out`, and a skip
    connection's share is left out. 1 is all; below 0 the features are worse than none. Special
    tokens have 0.
    """
    d_sae: int

    def column(self, feature: int) -> Float[Tensor, " position"]:
        """The value of `feature` at every position."""
        if not 0 <= feature < self.d_sae:
            raise IndexError(
                f"there is no feature {feature}: they are numbered 0 to {self.d_sae - 1}"
            )
        here = self.feature == feature
        column = self.value.new_zeros(len(self.ids))
        column[self.position[here]] = self.value[here]
        return column

    @cached_property
    def summary(self) -> Summary:
        """How each feature that fires here fires."""
        feature, row = torch.unique(self.feature, return_inverse=True)
        count = torch.bincount(row, minlength=len(feature))
        empty = self.value.new_zeros(len(feature))
        return Summary(
            feature=feature,
            max=empty.scatter_reduce(0, row, self.value, "amax"),
            mean=empty.scatter_add(0, row, self.value) / count,
            share=count / max(1, int((~self.special).sum())),
        )

    def strongest(self, n: int, by: str = "max") -> list[int]:
        """The `n` features first by "max", "mean" or "share"; equal ones by number."""
        if by not in ("max", "mean", "share"):
            raise ValueError(f"features are ranked by 'max', 'mean' or 'share'; got {by!r}")
        summary = self.summary
        score: Tensor = getattr(summary, by)
        order = score.argsort(descending=True, stable=True)[:n]
        return [int(feature) for feature in summary.feature[order]]

    def __repr__(self) -> str:
        return (
            f"Features({len(self.ids)} tokens, {len(self.summary.feature)} of {self.d_sae} "
            f"features fire, {len(self.value)} values)"
        )


def capture(model: Model, sae: SAE, ids: Sequence[int]) -> Features:
    """Read which features of `sae` fire on each of `ids`. The layers above its hook are not run."""
    ids = list(ids)
    check_tokens(model, ids)
    check_length(model, len(ids))
    special = torch.tensor(special_mask(model.tokenizer, ids), dtype=torch.bool)
    if not ids:
        none = torch.zeros(0, dtype=torch.long)
        return Features(none, special, none, none, torch.zeros(0), torch.zeros(0), sae.d_sae)
    with inferring(model):
        batch = torch.tensor([ids], device=device_of(model))
        x = sae.flatten(activations(model, batch, sae.hook)[0]).to(sae.W_enc)
        check_width(sae, x.shape[-1])
        x[special.to(x.device)] = 0.0  # an attention sink is of no interest; and it may overflow
        y = x  # what the features are to account for
        if sae.is_transcoder:
            y = activations(model, batch, sae.hook_out)[0].to(sae.W_dec)
        tile = max(1, TILE // sae.d_sae)
        position, feature, value = [], [], []
        for start in range(0, len(ids), tile):
            values = sae.encode(x[start : start + tile])
            values[special[start : start + tile].to(x.device)] = 0.0
            where = values.nonzero()
            position.append(where[:, 0] + start)
            feature.append(where[:, 1])
            value.append(values[where[:, 0], where[:, 1]])
        entries = torch.cat(position), torch.cat(feature), torch.cat(value)
        explained = _explained(sae, x, y, *entries).masked_fill(special.to(x.device), 0.0)
    return Features(
        ids=torch.tensor(ids),
        special=special,
        position=entries[0].cpu().clone(),  # a clone is no inference tensor
        feature=entries[1].cpu().clone(),
        value=entries[2].float().cpu().clone(),
        explained=explained.float().cpu().clone(),
        d_sae=sae.d_sae,
    )


def _explained(
    sae: SAE,
    x: Float[Tensor, "position d_in"],
    y: Float[Tensor, "position d_model"],
    position: Int[Tensor, " entry"],
    feature: Int[Tensor, " entry"],
    value: Float[Tensor, " entry"],
) -> Float[Tensor, " position"]:
    if sae.W_skip is not None:
        y = y - x @ sae.W_skip.T
    if sae.normalization is not None:
        y = sae.normalization(y)
    deviation = y - sae.b_dec
    starts = torch.searchsorted(position, torch.arange(len(y), device=y.device))
    # The sum of the fired directions at each position; their table alone could fill the memory.
    summed = F.embedding_bag(feature, sae.W_dec, starts, mode="sum", per_sample_weights=value)
    missing = deviation - summed
    return 1 - missing.square().sum(-1) / deviation.square().sum(-1).clamp(min=1e-12)


def check_length(model: Model, length: int) -> None:
    """Raise if a text of `length` tokens does not fit into the model."""
    if length > context_length(model):
        raise ValueError(
            f"the text has {length} tokens; this model reads at most {context_length(model)} at "
            "once. Shorten it, or cut the ids."
        )


def check_width(sae: SAE, width: int) -> None:
    """Raise if `sae` reads vectors of another length than the model has at its hook."""
    if width != sae.d_in:
        raise ValueError(
            f"SAE {sae.name!r} reads vectors of {sae.d_in} entries, but the model's activations "
            f"at {sae.hook!r} have {width}. It was trained on another model or hook."
        )
