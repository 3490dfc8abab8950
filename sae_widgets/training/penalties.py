"""Objectives that charge for firing, rather than keep a number of values.

`L1`: ReLU, each value times the norm of its direction (Anthropic's Circuits Update of April 2024).
`JumpReLU`: learned thresholds, and a square for missing a wanted number of features a vector
(Rajamanoharan et al. 2024, arXiv 2407.14435, with the quadratic penalty of its appendix and of
Gemma Scope 2). `TanhJumpReLU`: learned thresholds, and a penalty that levels off (Anthropic's
update of January 2025). `Gated`: one path decides what fires and another how strongly
(Rajamanoharan et al. 2024, arXiv 2404.16014).

A step has no gradient, so thresholds learn through straight-through estimators: the step is taken
for a slope over a short stretch around it, its `bandwidth`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from sae_widgets import sae as forms
from sae_widgets.sae import SAE, Relu
from sae_widgets.training import agree
from sae_widgets.training.codes import kth_largest
from sae_widgets.training.objectives import Batch, Objective, Outcome, error, plain


def risen(batch: Batch, share: float) -> float:
    """How much of a penalty is charged if it rises linearly over the first `share` of the run."""
    return 1.0 if share <= 0 else min(1.0, batch.progress / share)


def before(sae: SAE, x: Float[Tensor, "vector d_in"]) -> Float[Tensor, "vector feature"]:
    """Pre-activations."""
    return (x - sae.b_dec if sae.pre_bias else x) @ sae.W_enc + sae.b_enc


def squares(batch: Batch, guess: Float[Tensor, "vector d_model"]) -> Float[Tensor, ""]:
    """Mean squared length of the error."""
    return (batch.y - guess).square().sum(1).mean()


@dataclass(frozen=True)
class L1(Objective):
    """|x - x_hat|^2 + l1 * sum of f |d|, with ReLU, and directions of any length.

    What is charged for is the length of each feature's contribution, so that long directions with
    small values gain nothing, and no norm need be held. There is no bias before the encoder, and
    nothing is done for dead features. The penalty rises over the first `ramp` of the run.
    """

    l1: float = 5.0
    ramp: float = 0.05

    pre_bias: ClassVar[bool] = False
    unit_rows: ClassVar[bool] = False
    row_norm: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        check_weight("l1", self.l1)

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        values = before(sae, batch.x).relu()
        guess = values @ sae.W_dec + sae.b_dec
        lengths = (values * sae.W_dec.norm(dim=1)).sum(1).mean()
        loss = squares(batch, guess) + self.l1 * risen(batch, self.ramp) * lengths
        return Outcome(loss, guess, (values > 0).sum(0))

    def finished(self, sae: SAE, threshold: float) -> SAE:  # noqa: ARG002
        return plain(sae, Relu())


class Jump(torch.autograd.Function):
    """z where it is above the threshold, else 0."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        z, threshold, bandwidth = given
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return z * (z > threshold)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        z, threshold = ctx.saved_tensors
        (toward,) = upstream
        near = (z - threshold).abs() < ctx.bandwidth / 2
        toward_threshold = -(threshold / ctx.bandwidth) * (near * toward).sum(0)
        return (z > threshold) * toward, toward_threshold, None


class Step(torch.autograd.Function):
    """1 where z is above the threshold, else 0."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        z, threshold, bandwidth = given
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        return (z > threshold).to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        z, threshold = ctx.saved_tensors
        near = (z - threshold).abs() < ctx.bandwidth / 2
        return None, -(near * upstream[0]).sum(0) / ctx.bandwidth, None


def jump(z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """`z` where it is above `threshold`. Towards the threshold: -threshold / bandwidth nearby."""
    found: Tensor = Jump.apply(z, threshold, bandwidth)  # type: ignore[no-untyped-call]
    return found


def step(z: Tensor, threshold: Tensor, bandwidth: float) -> Tensor:
    """1 where `z` is above `threshold`. Towards the threshold: -1 / bandwidth nearby."""
    found: Tensor = Step.apply(z, threshold, bandwidth)  # type: ignore[no-untyped-call]
    return found


def give_thresholds(sae: SAE, threshold: float) -> None:
    """Let an SAE learn thresholds, by their logarithms, so that they stay positive."""
    sae.log_threshold = nn.Parameter(torch.full((sae.d_sae,), math.log(threshold)))


def log_thresholds(sae: SAE) -> Float[Tensor, " feature"]:
    """The parameters that `give_thresholds` gave."""
    log_threshold = sae.log_threshold
    assert isinstance(log_threshold, Tensor)
    return log_threshold


@dataclass(frozen=True)
class JumpReLU(Objective):
    """Mean squared error + weight * (L0 / l0 - 1)^2, with a learned threshold for each feature.

    l0: the wanted number of features on a vector. The thresholds alone learn from it. `bandwidth`
    and the first `threshold` are in the scale of training, in which pre-activations deviate by
    about 1. threshold None: that with which `l0` features fire before training. In short runs
    thresholds hardly move from it; Gemma Scope, in long ones, begins with about 0.05. The penalty
    rises over the first `ramp` of the run.
    """

    l0: float
    weight: float = 1.0
    bandwidth: float = 0.1
    threshold: float | None = None
    ramp: float = 0.05

    def __post_init__(self) -> None:
        if self.l0 <= 0:
            raise ValueError(f"l0 is the wanted number of features, more than 0; got {self.l0}")
        check_estimator(self.bandwidth, 1.0 if self.threshold is None else self.threshold)

    def check(self, d_sae: int) -> None:
        if self.l0 > d_sae:
            raise ValueError(f"l0 = {self.l0} features cannot fire of a dictionary of {d_sae}.")

    def equip(self, sae: SAE) -> None:
        give_thresholds(sae, self.threshold or 1.0)

    @torch.no_grad()
    def start(self, sae: SAE, x: Float[Tensor, "vector d_in"]) -> None:
        if self.threshold is None:
            z = before(sae, x[:2048]).flatten()
            log_thresholds(sae).fill_(kth_largest(z, round(self.l0 * len(x[:2048]))).log())

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        z, threshold = before(sae, batch.x).relu(), log_thresholds(sae).exp()
        values = jump(z, threshold, self.bandwidth)
        guess = values @ sae.W_dec + sae.b_dec
        found = agreed(step(z, threshold, self.bandwidth).sum(1).mean())
        missed = (found / self.l0 - 1).square()
        loss = error(batch, guess) + self.weight * risen(batch, self.ramp) * missed
        return Outcome(loss, guess, (values > 0).sum(0))

    def finished(self, sae: SAE, threshold: float) -> SAE:  # noqa: ARG002
        return plain(sae, forms.JumpReLU(log_thresholds(sae).exp()))


@dataclass(frozen=True)
class TanhJumpReLU(Objective):
    """|x - x_hat|^2 + sparsity * sum of tanh(steepness * f |d|), with a learned threshold each.

    Unlike `L1` it hardly charges for firing strongly. It rises over the whole run, and everything
    learns from it. `rescue` charges for being below the threshold, by which features that never
    fire come back. `bandwidth` and the first `threshold` are in the scale of training.
    """

    sparsity: float = 1.0
    steepness: float = 4.0
    bandwidth: float = 2.0
    threshold: float = 0.1
    rescue: float = 3e-6

    pre_bias: ClassVar[bool] = False
    unit_rows: ClassVar[bool] = False
    row_norm: ClassVar[float] = 3**-0.5  # that of a vector of numbers from -1 to 1 / sqrt(d_model)

    def __post_init__(self) -> None:
        check_weight("sparsity", self.sparsity)
        check_estimator(self.bandwidth, self.threshold)

    def equip(self, sae: SAE) -> None:
        give_thresholds(sae, self.threshold)

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        z, threshold, norm = before(sae, batch.x), log_thresholds(sae).exp(), sae.W_dec.norm(dim=1)
        values = jump(z, threshold, self.bandwidth)
        guess = values @ sae.W_dec + sae.b_dec
        charged = (self.steepness * values * norm).tanh().sum(1).mean()
        short = ((threshold - z).relu() * norm).sum(1).mean()
        loss = squares(batch, guess) + self.sparsity * batch.progress * charged
        return Outcome(loss + self.rescue * short, guess, (values > 0).sum(0))

    def finished(self, sae: SAE, threshold: float) -> SAE:  # noqa: ARG002
        return plain(sae, forms.JumpReLU(log_thresholds(sae).exp()))


@dataclass(frozen=True)
class Gated(Objective):
    """|x - x_hat|^2 + l1 * sum of ReLU(gate) + |x - x_hat of the gates alone|^2.

    A feature fires where its gate is open, gate = (x - b_dec) W_enc + b_enc > 0, as strongly as
    ReLU of another line through the same direction says: r times as steep, with a bias of its own.
    The penalty so shrinks the gates and not the values. The decoder learns nothing from the gates'
    reconstruction. The penalty rises over the first `ramp` of the run.
    """

    l1: float = 5.0
    ramp: float = 0.05

    def __post_init__(self) -> None:
        check_weight("l1", self.l1)

    def equip(self, sae: SAE) -> None:
        sae.log_slope = nn.Parameter(torch.zeros(sae.d_sae))
        sae.b_value = nn.Parameter(torch.zeros(sae.d_sae))

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        slope, b_value = values_of(sae)
        gate = before(sae, batch.x)
        values = (gate > 0) * ((gate - sae.b_enc) * slope + b_value).relu()
        guess = values @ sae.W_dec + sae.b_dec
        alone = gate.relu() @ sae.W_dec.detach() + sae.b_dec.detach()
        charged = self.l1 * risen(batch, self.ramp) * gate.relu().sum(1).mean()
        loss = squares(batch, guess) + charged + squares(batch, alone)
        return Outcome(loss, guess, (values > 0).sum(0))

    def finished(self, sae: SAE, threshold: float) -> SAE:  # noqa: ARG002
        """A JumpReLU: the gate opens where the value's own line passes b_value - slope * b_enc."""
        slope, b_value = (each.detach() for each in values_of(sae))
        made = plain(sae, forms.JumpReLU(b_value - slope * sae.b_enc.detach()))
        with torch.no_grad():
            made.W_enc.mul_(slope)
            made.b_enc.copy_(b_value)
        return made


def values_of(sae: SAE) -> tuple[Float[Tensor, " feature"], Float[Tensor, " feature"]]:
    """The slope and the bias of each feature's value, beside those of its gate."""
    log_slope, b_value = sae.log_slope, sae.b_value
    assert isinstance(log_slope, Tensor) and isinstance(b_value, Tensor)
    return log_slope.exp(), b_value


def agreed(own: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The mean of all processes, with the gradient of this one's: theirs are averaged later."""
    return own + (agree.mean(own.detach()) - own.detach())


def check_weight(name: str, weight: float) -> None:
    """Raise unless a penalty can be weighed so."""
    if weight < 0:
        raise ValueError(f"{name} weighs a penalty: 0 or more, got {weight}")


def check_estimator(bandwidth: float, threshold: float) -> None:
    """Raise unless thresholds can be learned from these."""
    if bandwidth <= 0 or threshold <= 0:
        raise ValueError(
            f"bandwidth and threshold must be more than 0; got {bandwidth} and {threshold}"
        )
