"""What edits do to a model's predictions, measured on a given text: nothing is generated."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae_widgets.model import (
    Model,
    attached,
    check_tokens,
    device_of,
    lock,
    silent_hook,
    token_count,
)
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.edits import (
    Add,
    AnyEdit,
    Ceiling,
    Floor,
    Replace,
    Rotate,
    Scale,
    Set,
    Target,
)
from sae_widgets.steering.hooks import Passes, compile_arms
from sae_widgets.steering.terms import SAEs

BASE = Arm("base")
ROUNDS = 12
"""Halvings of an interval: a strength is found to a four-thousandth of it."""


@dataclass(frozen=True)
class Effects:
    """How edits change what is predicted after each token of a text."""

    ids: Int[Tensor, " position"]
    kl: Float[Tensor, " position"]
    """KL(base ‖ steered) of the next token's distribution, in nats."""
    gained: Int[Tensor, "position n"]
    """The tokens that become more probable, most first."""
    gained_by: Float[Tensor, "position n"]
    """By how much their probability rises."""
    lost: Int[Tensor, "position n"]
    """The tokens that become less probable, most first."""
    lost_by: Float[Tensor, "position n"]
    """By how much their probability changes; negative."""

    @property
    def mean(self) -> float:
        """Mean KL over the text: the strength of the edits in nats a token."""
        return float(self.kl.mean())

    def __repr__(self) -> str:
        return f"Effects({len(self.ids)} tokens, mean KL {self.mean:.3g} nats)"


def effects(
    model: Model, sae: SAEs, ids: Sequence[int], edits: Sequence[AnyEdit], *, n: int = 5
) -> Effects:
    """Read `ids` once with and once without `edits` (rows of one batch) and compare.

    All of `ids` is the prompt: an edit of generated tokens does nothing here.
    """
    base, steered = predictions(model, sae, ids, [BASE, Arm("steered", tuple(edits))])
    change = steered.exp() - base.exp()
    n = min(n, change.shape[-1])
    up, down = change.topk(n, dim=-1), (-change).topk(n, dim=-1)
    return Effects(
        ids=torch.tensor(list(ids)),
        kl=divergence(base, steered),
        gained=up.indices,
        gained_by=up.values,
        lost=down.indices,
        lost_by=-down.values,
    )


def predictions(
    model: Model, sae: SAEs, ids: Sequence[int], arms: Sequence[Arm]
) -> Float[Tensor, "arm position d_vocab"]:
    """Log-probabilities of the next token after each of `ids`, under each arm."""
    ids = list(ids)
    if not ids:
        raise ValueError("an empty text has no effects to measure; give at least one token")
    check_tokens(model, ids)
    changes = compile_arms(model, sae, arms)
    passes = Passes(model)
    batch = torch.tensor([ids] * len(arms), device=device_of(model))
    passes.begin(batch, past=0, prompt=len(ids))
    functions = {hook: change.during(passes) for hook, change in changes.items()}
    with torch.inference_mode(), lock(model), attached(model, functions):
        logits: Tensor = model(batch)[..., : token_count(model)].float().cpu()
    for hook, change in changes.items():
        if not change.calls:
            raise RuntimeError(silent_hook(hook))
    return logits.log_softmax(-1).clone()


def divergence(
    base: Float[Tensor, "*batch d_vocab"], steered: Float[Tensor, "*batch d_vocab"]
) -> Float[Tensor, "*batch"]:
    """KL(base ‖ steered) of log-probabilities, in nats. Rounding takes none below zero."""
    return (base.exp() * (base - steered)).sum(-1).clamp(min=0)


def scaled(edit: AnyEdit, factor: float) -> AnyEdit:
    """The edit with `factor` times its strength; a `Scale` goes that share of its way from 1."""
    if isinstance(edit, Scale):
        return replace(edit, strength=1 + factor * (edit.strength - 1))
    if isinstance(edit, Add | Set | Target | Floor | Ceiling | Replace | Rotate):
        return replace(edit, strength=factor * edit.strength)
    raise ValueError(f"{edit!r} has no strength to scale")


def within_budget(
    model: Model,
    sae: SAEs,
    ids: Sequence[int],
    edits: Sequence[AnyEdit],
    *,
    kl: float,
    most: float = 4.0,
) -> float:
    """The largest factor, up to `most`, at which the mean KL of scaled `edits` stays within `kl`.

    Found by bisection on `ids`, as if the KL rose with the factor; strengths in nats a token can be
    compared between features, layers and operators (Paulo et al. 2024, on interventions).
    """
    if not (math.isfinite(kl) and kl > 0):
        raise ValueError(f"a budget is a number of nats above 0; got {kl}")
    if not (math.isfinite(most) and most > 0):
        raise ValueError(f"the largest factor to try is above 0; got {most}")

    def fits(factor: float) -> bool:
        arm = Arm("scaled", tuple(scaled(edit, factor) for edit in edits))
        base, steered = predictions(model, sae, ids, [BASE, arm])
        return float(divergence(base, steered).mean()) <= kl

    if fits(most):
        return most
    if not fits(0.0):
        raise ValueError(
            f"even at factor 0 these edits cost more than {kl} nats a token: a Set, Floor, Ceiling "
            "or Replace of 0 still acts. Measure them with `effects`, or give a larger budget"
        )
    low, high = 0.0, most
    for _ in range(ROUNDS):
        middle = (low + high) / 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
