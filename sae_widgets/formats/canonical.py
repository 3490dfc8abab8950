"""The one form that every reader brings an SAE into, and what may be folded into its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from sae_widgets.sae import (
    SAE,
    Activation,
    Centred,
    GroupMax,
    JumpReLU,
    Normalization,
    Relu,
    Stats,
    TopK,
)


@dataclass(frozen=True)
class Asked:
    """What the caller said about an SAE. It goes before what the files say."""

    hook: str | None = None
    hook_out: str | None = None
    k: int | None = None
    threshold: float | None = None
    scale: float | None = None


@dataclass(frozen=True)
class Canonical:
    """An SAE as its files have it, under our names; `sae` checks that its shapes agree.

    Shapes: W_enc [d_in, d_sae], b_enc [d_sae], W_dec [d_sae, d_model], b_dec [d_model],
    W_skip [d_model, d_in]. name: None if the files give none.
    """

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor
    hook: str
    activation: Activation = field(default_factory=Relu)
    pre_bias: bool = False
    hook_out: str | None = None
    W_skip: Tensor | None = None
    normalization: Normalization | None = None
    name: str | None = None
    title: str = ""
    placebo: str | None = None
    stats: Stats | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def scaled(self, scale: float) -> Canonical:
        """For activations x, what this is for activations scale · x. Values stay what they were."""
        if not 0 < scale < math.inf:
            raise ValueError(f"activations are scaled by a positive number; got scale={scale!r}")
        return replace(
            self,
            W_enc=self.W_enc * scale,
            W_dec=self.W_dec / scale,
            b_dec=self.b_dec / scale,
        )

    def unit_rows(self) -> Canonical:
        """With directions of length one; the values take over their lengths.

        That changes which features are strongest: of a TopK this makes another SAE, unless it was
        trained to choose by value times length.
        """
        length = self.W_dec.norm(dim=1).clamp(min=1e-8)
        activation = self.activation
        if isinstance(activation, JumpReLU):
            activation = JumpReLU(activation.threshold * length)
        return replace(
            self,
            W_enc=self.W_enc * length,
            b_enc=self.b_enc * length,
            W_dec=self.W_dec / length[:, None],
            activation=activation,
        )

    def centred(self, address: str) -> Canonical:
        """For activations whose mean is not taken away, what this is for those where it is."""
        if self.normalization is not None or self.hook_out is not None:
            raise ValueError(
                f"{address}: centred=True is for an SAE that reads activations as they are, and "
                "this one normalises them or is a transcoder; leave it out"
            )
        return replace(self, normalization=Centred())

    def sae(self, address: str, name: str, dtype: torch.dtype | None) -> SAE:
        """The SAE; its weights are of `dtype`, or None: what they are, and not copied."""
        self._check(address)
        # It begins with random weights of its own: small ones, for those of the files replace them.
        sae = SAE(
            1,
            1,
            self.hook,
            self.activation,
            hook_out=self.hook_out,
            skip=self.W_skip is not None,
            normalization=self.normalization,
            pre_bias=self.pre_bias,
            name=self.name or name,
            title=self.title,
            placebo=self.placebo,
            stats=self.stats,
            provenance=self.provenance,
        )
        for each in ("W_enc", "b_enc", "W_dec", "b_dec", "W_skip"):
            tensor = getattr(self, each)
            if tensor is not None:
                tensor = tensor.detach()
                kept = tensor if dtype is None else tensor.to(dtype)
                setattr(sae, each, nn.Parameter(kept, requires_grad=False))
        sae.activation.to(sae.W_enc.dtype)
        return sae.eval()

    def _check(self, address: str) -> None:
        if self.W_dec.ndim != 2 or self.W_enc.ndim != 2:
            raise ValueError(
                f"{address}: W_enc and W_dec have shapes {tuple(self.W_enc.shape)} and "
                f"{tuple(self.W_dec.shape)}; those of an SAE are matrices. SAEs of several layers "
                "or models at once (crosscoders, cross-layer transcoders) are not read"
            )
        d_sae, d_model = self.W_dec.shape
        if isinstance(self.activation, TopK) and self.activation.k > d_sae:
            raise ValueError(
                f"{address}: {self.activation.k} features cannot fire of the {d_sae} there are"
            )
        if isinstance(self.activation, GroupMax) and d_sae % self.activation.groups:
            raise ValueError(
                f"{address}: {d_sae} features do not make {self.activation.groups} equal groups"
            )
        d_in = self.W_enc.shape[0] if self.hook_out else d_model
        wanted: dict[str, tuple[int, ...]] = {
            "W_enc": (d_in, d_sae),
            "b_enc": (d_sae,),
            "b_dec": (d_model,),
            "W_skip": (d_model, d_in),
        }
        held = {name: getattr(self, name) for name in wanted}
        if isinstance(self.activation, JumpReLU):
            held["threshold"], wanted["threshold"] = self.activation.threshold, (d_sae,)
        for name, tensor in held.items():
            if tensor is not None and tuple(tensor.shape) != wanted[name]:
                raise ValueError(
                    f"{address}: {name} has shape {tuple(tensor.shape)} where W_dec asks for "
                    f"{wanted[name]}"
                )
            if tensor is not None and not tensor.is_floating_point():
                raise ValueError(f"{address}: {name} holds {tensor.dtype}, not real numbers")
