"""Objectives that charge for firing, rather than keep a number of values.

`L1`: ReLU, and a charge for each value times the length of its direction (Anthropic's Circuits
Update of April 2024). `JumpReLU`: learned thresholds, and a charge for missing a wanted number of
features a vector, squared (Rajamanoharan et al. 2024, arXiv 2407.14435; the square as in Gemma
Scope 2). `TanhJumpReLU`: learned thresholds, and a charge that levels off as values grow
(Anthropic's update of January 2025). `Gated`: one line decides whether a feature fires and another
how strongly (Rajamanoharan et al. 2024, arXiv 2404.16014).

A step has no gradient, so thresholds learn by a straight-through estimator: backward, the step
counts as a slope that is `bandwidth` wide.
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
from sae_widgets.training.codes import kth
from sae_widgets.training.objectives import (
    Batch,
    Objective,
    Outcome,
    base,
    check_charge,
    error,
    plain,
)


def risen(batch: Batch, share: float) -> float:
    """How much of a charge is made if it rises linearly over the first `share` of the run."""
    return 1.0 if share <= 0 else min(1.0, batch.progress / share)


def before(sae: SAE, x: Float[Tensor, "vector d_in"]) -> Float[Tensor, "vector feature"]:
    """Pre-activations."""
    return (x - sae.b_dec if sae.pre_bias else x) @ sae.W_enc + sae.b_enc


def squares(batch: Batch, guess: Float[Tensor, "vector d_model"]) -> Float[Tensor, ""]:
    """Mean squared length of the error."""
    return (batch.y - guess).square().sum(1).mean()


@dataclass(frozen=True)
class L1(Objective):
    """|x - x_hat|^2 + l1 * sum of f |d|, with ReLU.

    Anthropic's recipe of April 2024. The charge is for the length that each feature adds, so that
    small values of long directions gain nothing: the decoder is free, until its lengths are folded
    into the values at the end. No bias is taken away before the encoder, and nothing is done for
    dead features. The charge rises over the first `ramp` of the run. `Recipe` does the rest of it
    by itself: the rate falls over the last fifth, and gradients are clipped at 1.
    """

    l1: float = 5.0
    ramp: float = 0.05

    pre_bias: ClassVar[bool] = False
    unit_rows: ClassVar[bool] = False
    row_norm: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        check_charge("l1", self.l1, self.ramp)

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        values = before(sae, batch.x).relu()
        guess = values @ sae.W_dec + base(sae, batch)
        lengths = (values * sae.W_dec.norm(dim=1)).sum(1).mean()
        loss = squares(batch, guess) + self.l1 * risen(batch, self.ramp) * lengths
        return Outcome(loss, guess, (values > 0).sum(0))

    def finished(self, sae: SAE, threshold: float) -> SAE:  # noqa: ARG002
        return plain(sae, Relu())


class Gate(torch.autograd.Function):
    """z where it is above the threshold, and 1 there; else 0 and 0."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        z, threshold, bandwidth = given
        ctx.save_for_backward(z, threshold)
        ctx.bandwidth = bandwidth
        fires = z > threshold
        return z * fires, fires.to(z.dtype)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        z, threshold = ctx.saved_tensors
        to_values, to_fires = upstream
        near = (z - threshold).abs() < ctx.bandwidth / 2
        slope = -(near * (threshold * to_values + to_fires)).sum(0) / ctx.bandwidth
        return (z > threshold) * to_values, slope, None


def gate(z: Tensor, threshold: Tensor, bandwidth: float) -> tuple[Tensor, Tensor]:
    """`z` where it is above `threshold`, and 1 there, from which `z` learns nothing.

    The gradients of the threshold are -threshold / bandwidth and -1 / bandwidth near `z`.
    """
    values, fires = Gate.apply(z, threshold, bandwidth)  # type: ignore[no-untyped-call]
    return values, fires


def give_thresholds(sae: SAE, threshold: float) -> None:
    """Let an SAE learn thresholds, by their logarithms, so that they stay positive."""
    sae.log_threshold = nn.Parameter(
        torch.full((sae.d_sae,), math.log(threshold), dtype=torch.float32)
    )


def log_thresholds(sae: SAE) -> Float[Tensor, " feature"]:
    """The parameters that `give_thresholds` gave."""
    log_threshold = sae.log_threshold
    assert isinstance(log_threshold, Tensor)
    return log_threshold


@dataclass(frozen=True)
class JumpReLU(Objective):
    """Mean squared error + weight * (L0 / l0 - 1)^2, with a learned threshold for each feature.

    l0: the wanted number of features on a vector. The thresholds alone learn from it. threshold:
    where they all start; None: where `l0` features fire before training, because in short runs
    they move little. It and `bandwidth` are in the scale of training, where pre-activations are
    about 1 in size. The charge rises over the first `ramp` of the run.
    """

    l0: float
    weight: float = 1.0
    bandwidth: float = 0.1
    threshold: float | None = None
    ramp: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.l0 < math.inf:
            raise ValueError(
                f"l0 is the wanted number of features, finite and more than 0; got {self.l0}"
            )
        check_charge("weight", self.weight, self.ramp)
        check_estimator(self.bandwidth, 1.0 if self.threshold is None else self.threshold)

    @property
    def target(self) -> float:
        return self.l0

    def check(self, d_sae: int) -> None:
        if self.l0 > d_sae:
            raise ValueError(f"l0 = {self.l0} features cannot fire of a dictionary of {d_sae}.")

    def equip(self, sae: SAE) -> None:
        give_thresholds(sae, self.threshold or 1.0)

    @torch.no_grad()
    def start(self, sae: SAE, x: Float[Tensor, "vector d_in"]) -> None:
        if self.threshold is None:
            z = before(sae, x[:1024]).relu().flatten()
            # All processes have the same x here, so that none need be asked.
            first = kth(z, max(1, round(self.l0 * len(x[:1024])))).clamp(min=1e-3)
            log_thresholds(sae).fill_(first.log())

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        z, threshold = before(sae, batch.x), log_thresholds(sae).exp()
        values, fires = gate(z, threshold, self.bandwidth)
        guess = values @ sae.W_dec + base(sae, batch)
        found = agreed(fires.sum(1).mean())
        missed = (found / self.l0 - 1).square()
        loss = error(batch, guess) + self.weight * risen(batch, self.ramp) * missed
        return Outcome(loss, guess, (values > 0).sum(0))

    def finished(self, sae: SAE, threshold: float) -> SAE:  # noqa: ARG002
        return plain(sae, forms.JumpReLU(log_thresholds(sae).exp()))


@dataclass(frozen=True)
class TanhJumpReLU(Objective):
    """|x - x_hat|^2 + sparsity * sum of tanh(steepness * f |d|), with learned thresholds.

    A strong value costs hardly more than a middling one, so that values shrink less than under
    `L1`. The charge rises over the whole run. `rescue` charges for how far pre-activations are
    below their thresholds, which brings back features that never fire. `threshold`, where all
    start, and `bandwidth` are in the scale of training.
    """

    sparsity: float = 1.0
    steepness: float = 4.0
    bandwidth: float = 2.0
    threshold: float = 0.1
    rescue: float = 3e-6

    pre_bias: ClassVar[bool] = False
    unit_rows: ClassVar[bool] = False
    row_norm: ClassVar[float] = 3**-0.5  # of numbers drawn evenly from within 1 / sqrt(d_model)

    def __post_init__(self) -> None:
        check_charge("sparsity", self.sparsity)
        check_charge("rescue", self.rescue)
        if not 0 < self.steepness < math.inf:
            raise ValueError(f"steepness is finite and more than 0; got {self.steepness}")
        check_estimator(self.bandwidth, self.threshold)

    def equip(self, sae: SAE) -> None:
        give_thresholds(sae, self.threshold)

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        z, threshold, norm = before(sae, batch.x), log_thresholds(sae).exp(), sae.W_dec.norm(dim=1)
        values, _ = gate(z, threshold, self.bandwidth)
        guess = values @ sae.W_dec + base(sae, batch)
        charged = (self.steepness * values * norm).tanh().sum(1).mean()
        short = ((threshold - z).relu() * norm).sum(1).mean()
        loss = squares(batch, guess) + self.sparsity * batch.progress * charged
        return Outcome(loss + self.rescue * short, guess, (values > 0).sum(0))

    def finished(self, sae: SAE, threshold: float) -> SAE:  # noqa: ARG002
        return plain(sae, forms.JumpReLU(log_thresholds(sae).exp()))


@dataclass(frozen=True)
class Gated(Objective):
    """|x - x_hat|^2 + l1 * sum of ReLU(gate) + |x - x_hat of the gates|^2.

    A feature fires where its gate = (x - b_dec) W_enc + b_enc is above 0. Its value is ReLU of
    (x - b_dec) W_enc times a slope of its own, plus a bias of its own. The charge shrinks gates
    and not values; what makes gates mean anything is that they are to reconstruct, too, for which
    the decoder is held fixed. The charge rises over the first `ramp` of the run.
    """

    l1: float = 5.0
    ramp: float = 0.05

    def __post_init__(self) -> None:
        check_charge("l1", self.l1, self.ramp)

    def equip(self, sae: SAE) -> None:
        sae.log_slope = nn.Parameter(torch.zeros(sae.d_sae, dtype=torch.float32))
        sae.b_value = nn.Parameter(torch.zeros(sae.d_sae, dtype=torch.float32))

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        slope, b_value = values_of(sae)
        gate = before(sae, batch.x)
        values = (gate > 0) * ((gate - sae.b_enc) * slope + b_value).relu()
        guess = values @ sae.W_dec + base(sae, batch)
        alone = gate.relu() @ sae.W_dec.detach() + base(sae, batch).detach()
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


def check_estimator(bandwidth: float, threshold: float) -> None:
    """Raise unless thresholds can be learned from these."""
    if not (0 < bandwidth < math.inf and 0 < threshold < math.inf):
        raise ValueError(
            f"bandwidth and threshold are finite and more than 0; got {bandwidth} and {threshold}"
        )
