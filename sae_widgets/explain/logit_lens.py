"""The logit lens: which next tokens a direction promotes and which it suppresses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from sae_widgets.model import Model, inferring, logits, nameless
from sae_widgets.sae import SAE
from sae_widgets.tokens import special_ids


@dataclass(frozen=True)
class Lens:
    """The tokens that a direction moves most, each as (id, logit), the farthest moved first."""

    likely: tuple[tuple[int, float], ...]
    unlikely: tuple[tuple[int, float], ...]


def logit_lens(model: Model, sae: SAE, features: Sequence[int], n: int = 8) -> list[Lens]:
    """The `n` tokens that each of `features` promotes most and suppresses most.

    This is the direct path from the feature's direction to the output, past all later layers, and
    for a direction at length one: only the order and the proportions of the logits mean something.
    Special tokens are left out.
    """
    for feature in features:
        sae.check_feature(feature)
    with inferring(model):
        moved = logits(model, sae.W_dec[list(features)], sae.hook_out)
    marks = nameless(model).to(moved.device, copy=True)
    marks[[token for token in special_ids(model.tokenizer) if token < moved.shape[1]]] = True
    n = min(n, int((~marks).sum()))
    lenses = []
    for row in moved:
        top = row.masked_fill(marks, -torch.inf).topk(n)
        bottom = row.masked_fill(marks, torch.inf).topk(n, largest=False)
        lenses.append(Lens(likely=_pairs(top), unlikely=_pairs(bottom)))
    return lenses


def _pairs(top: Any) -> tuple[tuple[int, float], ...]:
    return tuple(zip(top.indices.tolist(), top.values.tolist(), strict=True))
