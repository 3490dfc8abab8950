"""A sparse autoencoder: a dictionary of directions and how strongly each one fires."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Stats:
    """How each feature fires over a corpus; special tokens are left out everywhere."""

    peak: Float[Tensor, " d_sae"]
    """Largest value."""
    density: Float[Tensor, " d_sae"]
    """Share of tokens on which it fires."""
    mean: Float[Tensor, " d_sae"]
    """Mean value over the tokens where it fires."""
    histogram: Int[Tensor, "d_sae bin"]
    """How many of its non-zero values lie in each of 32 equal steps from 0 to its peak."""
    norm: float
    """Mean length of the activations at the hook."""
    tokens: int
    """How many tokens were counted."""


class Relu(nn.Module):
    """Every positive value fires."""

    def forward(self, pre: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        return pre.relu()

    def some(self, features: Tensor) -> nn.Module:  # noqa: ARG002
        """The same function for only these features."""
        return self


class JumpReLU(nn.Module):
    """A value fires only above its feature's own threshold."""

    threshold: Tensor

    def __init__(self, threshold: Float[Tensor, " d_sae"]) -> None:
        super().__init__()
        self.register_buffer("threshold", threshold.detach().clone())

    def forward(self, pre: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch feature"]:
        return pre.relu() * (pre > self.threshold)

    def some(self, features: Tensor) -> nn.Module:
        """The same function for only these features."""
        return JumpReLU(self.threshold[features])


class TopK(nn.Module):
    """Keep the `k` strongest features at each position and silence the rest."""

    def __init__(self, k: int) -> None:
        super().__init__()
        if k < 1:
            raise ValueError(f"TopK keeps at least one feature; got k={k}")
        self.k = k

    def extra_repr(self) -> str:
        return f"k={self.k}"

    def forward(self, pre: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        strongest = pre.relu().topk(self.k, dim=-1)
        return torch.zeros_like(pre).scatter(-1, strongest.indices, strongest.values)


Activation = Relu | JumpReLU | TopK


class SAE(nn.Module):
    """Write each activation as a sparse sum of learned directions.

    `encode` says how strongly every feature fires; `decode` adds the fired directions back up.
    Row `f` of `W_dec` is the direction of feature `f`. An SAE reads one place in one model, so it
    carries the name of that `hook`. It starts out random.

    name: how code and widgets refer to it; title: the same for people. placebo: why it is none of
    the real ones, if it is a control. provenance: where its weights come from.
    """

    def __init__(
        self,
        d_model: int,
        d_sae: int,
        hook: str,
        activation: Activation | None = None,
        *,
        pre_bias: bool = True,
        name: str = "sae",
        title: str = "",
        placebo: str | None = None,
        stats: Stats | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        directions = F.normalize(torch.randn(d_sae, d_model), dim=-1)
        self.hook = hook
        self.activation = Relu() if activation is None else activation
        self.pre_bias = pre_bias
        self.name = name
        self.title = title or name
        self.placebo = placebo
        self.stats = stats
        self.provenance = dict(provenance or {})
        self.W_enc = nn.Parameter(directions.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(d_sae))
        self.W_dec = nn.Parameter(directions)
        self.b_dec = nn.Parameter(torch.zeros(d_model))

    @property
    def d_model(self) -> int:
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        return self.W_dec.shape[0]

    def encode(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_sae"]:
        values: Tensor = self.activation(self._centred(x) @ self.W_enc + self.b_enc)
        return values

    def encoder(self, features: Sequence[int] | Int[Tensor, " n"]) -> Callable[[Tensor], Tensor]:
        """A function that encodes only these features, each as `encode` does.

        It holds a copy of their weights, and takes activations of any dtype and device.
        Under TopK it has to encode them all: which survive depends on every one.
        """
        chosen = torch.as_tensor(features, dtype=torch.long, device=self.W_enc.device)
        if isinstance(self.activation, TopK):
            return lambda x: self.encode(x.to(self.W_enc))[..., chosen].to(x)
        before, activation = self.before_activation(chosen), self.activation.some(chosen)

        def encode(x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch n"]:
            values: Tensor = activation(before(x))
            return values.to(x)

        return encode

    def before_activation(
        self, features: Sequence[int] | Int[Tensor, " n"]
    ) -> Callable[[Tensor], Tensor]:
        """A function that gives what these features are before the activation function.

        It is linear in the activation but for a constant, and comes in the SAE's dtype and device.
        """
        chosen = torch.as_tensor(features, dtype=torch.long, device=self.W_enc.device)
        W_enc, b_enc = self.W_enc[:, chosen], self.b_enc[chosen]

        def before(x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch n"]:
            return self._centred(x.to(W_enc)) @ W_enc + b_enc

        return before

    def decode(self, values: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_model"]:
        return values @ self.W_dec + self.b_dec

    def forward(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        return self.decode(self.encode(x))

    def flatten(self, x: Float[Tensor, "*any"]) -> Float[Tensor, "*batch d_model"]:
        """Activations as vectors of `d_model`: those of `hook_z` come as `[..., head, d_head]`."""
        by_head = self.hook.endswith("hook_z") and x.shape[-1] != self.d_model
        return x.flatten(-2) if by_head else x

    def check_feature(self, feature: int) -> None:
        """Raise if there is no feature of this number."""
        if not 0 <= feature < self.d_sae:
            raise IndexError(
                f"SAE {self.name!r} has no feature {feature}: its {self.d_sae} features are "
                f"numbered 0 to {self.d_sae - 1}"
            )

    def _centred(self, x: Tensor) -> Tensor:
        return x - self.b_dec if self.pre_bias else x
