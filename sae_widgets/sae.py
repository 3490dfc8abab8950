"""A sparse autoencoder: a dictionary of directions and how strongly each one fires."""

from __future__ import annotations

import math
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
    """Mean length of the activations where the directions are written."""
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
    """A value fires only above its feature's own threshold, and above 0."""

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


class GroupMax(nn.Module):
    """Keep the strongest of each of `groups` equal runs of neighbouring features."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, pre: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_sae"]:
        grouped = pre.relu().reshape(*pre.shape[:-1], self.groups, -1)
        strongest = grouped.max(dim=-1, keepdim=True)
        kept = torch.zeros_like(grouped).scatter(-1, strongest.indices, strongest.values)
        return kept.flatten(-2)


Activation = Relu | JumpReLU | TopK | GroupMax


class Centred(nn.Module):
    """Activations with the mean of their entries taken away.

    So are those of TransformerLens's models with centred weights (center_writing_weights): there
    this changes nothing.
    """

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return x - x.mean(-1, keepdim=True)

    def undo(
        self, y: Float[Tensor, "*batch d_in"], x: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_in"]:
        """`y`, which is centred as `x` was, as an activation again."""
        return y + x.mean(-1, keepdim=True)

    def size(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch 1"]:
        """How much of the activation is one unit of what the SAE sees: one."""
        return torch.ones_like(x[..., :1])


class LayerNorm(nn.Module):
    """Activations with their mean taken away, in units of their standard deviation (n - 1)."""

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return (x - x.mean(-1, keepdim=True)) / (self.size(x) + 1e-5)

    def undo(
        self, y: Float[Tensor, "*batch d_in"], x: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_in"]:
        """`y`, which is normalised as `x` was, as an activation again."""
        return y * self.size(x) + x.mean(-1, keepdim=True)

    def size(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch 1"]:
        """How much of the activation is one unit of what the SAE sees."""
        return x.std(-1, keepdim=True)


class ConstantNorm(nn.Module):
    """Activations all brought to the length √d_in."""

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_in"]:
        return x / self.size(x)

    def undo(
        self, y: Float[Tensor, "*batch d_in"], x: Float[Tensor, "*batch d_in"]
    ) -> Float[Tensor, "*batch d_in"]:
        """`y`, which is normalised as `x` was, as an activation again."""
        return y * self.size(x)

    def size(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch 1"]:
        """How much of the activation is one unit of what the SAE sees."""
        length: Tensor = x.norm(dim=-1, keepdim=True).clamp(min=1e-12)
        return length / math.sqrt(x.shape[-1])


Normalization = Centred | LayerNorm | ConstantNorm


class SAE(nn.Module):
    """Write each activation as a sparse sum of learned directions.

    `encode` says how strongly every feature fires; `decode` adds the fired directions back up.
    Row `f` of `W_dec` is the direction of feature `f`. An SAE reads one place in one model, so it
    carries the name of that `hook`. It starts out random.

    A transcoder writes elsewhere, at `hook_out`, and may read vectors of another length, `d_in`.
    With `skip` a linear map of what is read, `W_skip`, is part of what is written. A
    `normalization` is applied to activations before anything else, and undone at the end.

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
        d_in: int | None = None,
        hook_out: str | None = None,
        skip: bool = False,
        normalization: Normalization | None = None,
        name: str = "sae",
        title: str = "",
        placebo: str | None = None,
        stats: Stats | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        d_in = d_model if d_in is None else d_in
        exact = torch.float32  # whatever torch's default is
        directions = F.normalize(torch.randn(d_sae, d_model, dtype=exact), dim=-1)
        self.hook = hook
        self._hook_out = hook_out
        self.activation = Relu() if activation is None else activation
        self.normalization = normalization
        self.pre_bias = pre_bias
        self.name = name
        self.title = title or name
        self.placebo = placebo
        self.stats = stats
        self.provenance = dict(provenance or {})
        reading = directions
        if d_in != d_model:
            reading = F.normalize(torch.randn(d_sae, d_in, dtype=exact), dim=-1)
        self.W_enc = nn.Parameter(reading.T.clone())
        self.b_enc = nn.Parameter(torch.zeros(d_sae, dtype=exact))
        self.W_dec = nn.Parameter(directions)
        self.b_dec = nn.Parameter(torch.zeros(d_model, dtype=exact))
        self.W_skip = nn.Parameter(torch.zeros(d_model, d_in, dtype=exact)) if skip else None
        if self.is_transcoder and (pre_bias or normalization is not None):
            raise ValueError(
                f"a transcoder reads at {hook!r} and writes at {self.hook_out!r}: its b_dec cannot "
                "be taken away from what it reads (pass pre_bias=False), nor a normalization be "
                "undone in what it writes"
            )

    @property
    def d_model(self) -> int:
        """The length of what is written: of a direction."""
        return self.W_dec.shape[1]

    @property
    def d_in(self) -> int:
        """The length of what is read; that of a direction, but for some transcoders."""
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        return self.W_dec.shape[0]

    @property
    def hook_out(self) -> str:
        """Where it writes: where it reads, but for a transcoder."""
        return self.hook if self._hook_out is None else self._hook_out

    @property
    def is_transcoder(self) -> bool:
        """Whether it writes elsewhere than it reads."""
        return self.hook_out != self.hook

    @property
    def rescales(self) -> bool:
        """Whether a value stands for another length in the activation at each token."""
        return isinstance(self.normalization, LayerNorm | ConstantNorm)

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        values: Tensor = self.activation(self._centred(x) @ self.W_enc + self.b_enc)
        return values

    def encoder(self, features: Sequence[int] | Int[Tensor, " n"]) -> Callable[[Tensor], Tensor]:
        """A function that encodes only these features, each as `encode` does.

        It holds a copy of their weights, and takes activations of any dtype and device.
        Under TopK and GroupMax it has to encode them all: which survive depends on the others.
        """
        chosen = torch.as_tensor(features, dtype=torch.long, device=self.W_enc.device)
        if isinstance(self.activation, TopK | GroupMax):
            return lambda x: self.encode(x.to(self.W_enc))[..., chosen].to(x)
        before, activation = self.before_activation(chosen), self.activation.some(chosen)

        def encode(x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch n"]:
            values: Tensor = activation(before(x))
            return values.to(x)

        return encode

    def before_activation(
        self, features: Sequence[int] | Int[Tensor, " n"]
    ) -> Callable[[Tensor], Tensor]:
        """A function that gives what these features are before the activation function.

        Without a normalization it is linear in the activation but for a constant. What it gives
        comes in the SAE's dtype and device.
        """
        chosen = torch.as_tensor(features, dtype=torch.long, device=self.W_enc.device)
        W_enc, b_enc = self.W_enc[:, chosen], self.b_enc[chosen]

        def before(x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch n"]:
            return self._centred(x.to(W_enc)) @ W_enc + b_enc

        return before

    def decode(
        self,
        values: Float[Tensor, "*batch d_sae"],
        x: Float[Tensor, "*batch d_in"] | None = None,
    ) -> Float[Tensor, "*batch d_model"]:
        """The sum of the directions, each times its value.

        An SAE with a normalization or a skip connection needs `x` too: what was encoded.
        """
        y = values @ self.W_dec + self.b_dec
        if self.normalization is None and self.W_skip is None:
            return y
        if x is None:
            raise ValueError(
                f"what SAE {self.name!r} writes depends on more than its features (it has a "
                "normalization or a skip connection): decode(values, x) with the activations x "
                "that were encoded"
            )
        if self.normalization is not None:
            y = self.normalization.undo(y, x)
        return y if self.W_skip is None else y + x @ self.W_skip.T

    def forward(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_model"]:
        return self.decode(self.encode(x), x)

    def flatten(self, x: Float[Tensor, "*any"]) -> Float[Tensor, "*batch d_in"]:
        """Activations as vectors of `d_in`: those of `hook_z` come as `[..., head, d_head]`."""
        by_head = self.hook.endswith("hook_z") and x.shape[-1] != self.d_in
        return x.flatten(-2) if by_head else x

    def check_feature(self, feature: int) -> None:
        """Raise if there is no feature of this number."""
        if not 0 <= feature < self.d_sae:
            raise IndexError(
                f"SAE {self.name!r} has no feature {feature}: its {self.d_sae} features are "
                f"numbered 0 to {self.d_sae - 1}"
            )

    def _centred(self, x: Tensor) -> Tensor:
        if self.normalization is not None:
            x = self.normalization(x)
        return x - self.b_dec if self.pre_bias else x
