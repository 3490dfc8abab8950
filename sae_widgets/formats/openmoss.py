"""OpenMOSS: Llama Scope, and what its library (llamascopium, before that lm-saes) saves.

These SAEs were trained on activations scaled so that their mean length is √d_model. The scale is
folded as the library does it for use: values are those of the activations as they are, which
SAELens's, for the same SAE, exceed by the scale.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files
from sae_widgets.sae import ConstantNorm, JumpReLU, Relu, TopK

NAME = "OpenMOSS (Llama Scope)"
SCALED = True

LOG_THRESHOLD = ("log_jumprelu_threshold", "activation_function.log_jumprelu_threshold")


def detects(files: Files) -> bool:
    return files.has("W_E", "W_D") or (
        "hook_point_in" in files.config and files.has("encoder.weight", "decoder.weight")
    )


def read(files: Files, asked: Asked) -> Canonical:
    config, tensors = files.config, files.tensors
    if config.get("use_glu_encoder"):
        raise ValueError(f"{files.described}: a gated linear encoder (GLU) is not supported")
    new = "W_E" in tensors  # the names of its newest version; before, those of torch's Linear
    W_dec = tensors["W_D"] if new else tensors["decoder.weight"].T
    biased = "b_D" in tensors or "decoder.bias" in tensors
    b_dec = tensors["b_D" if new else "decoder.bias"] if biased else W_dec.new_zeros(W_dec.shape[1])
    hook = files.need("hook", asked.hook, config.get("hook_point_in"), "which hook it reads")
    out = asked.hook_out or config.get("hook_point_out")
    found = Canonical(
        W_enc=tensors["W_E"] if new else tensors["encoder.weight"].T,
        b_enc=tensors["b_E" if new else "encoder.bias"],
        W_dec=W_dec,
        b_dec=b_dec,
        hook=hook,
        hook_out=None if out == hook or out == config.get("hook_point_in") else out,
        normalization=ConstantNorm() if config.get("norm_activation") == "token-wise" else None,
    )
    into, out_of = _scales(files, asked, found)
    found = replace(
        found,
        b_enc=found.b_enc / into,
        b_dec=found.b_dec / out_of,
        W_dec=found.W_dec if into == out_of else found.W_dec * (into / out_of),
    )
    return _activated(files, asked, found, into)


def _activated(files: Files, asked: Asked, found: Canonical, scale: float) -> Canonical:
    config, tensors = files.config, files.tensors
    logarithm = next((name for name in LOG_THRESHOLD if name in tensors), None)
    threshold: Tensor | None = None
    if logarithm is not None:
        threshold = tensors[logarithm].exp() / scale
    elif isinstance(config.get("jump_relu_threshold"), int | float):
        # The one number is that of the activations as they are.
        threshold = torch.full_like(found.b_enc, config["jump_relu_threshold"])
    kind = "jumprelu" if threshold is not None else config.get("act_fn", "relu")
    by_length = bool(config.get("sparsity_include_decoder_norm", False))
    if kind == "relu":
        return replace(found, activation=Relu())
    if kind == "topk":
        k = files.count("k", asked.k, config.get("top_k"), "how many features fire (top_k)")
        return replace(found.unit_rows() if by_length else found, activation=TopK(k))
    if threshold is None and asked.threshold is None and asked.k is None:
        raise ValueError(
            f"{files.described}: what an SAE with act_fn={kind!r} does to a single activation "
            "is not saved with it; pass threshold= or k= to load_sae"
        )
    if threshold is not None:
        # A feature fires where its value times its length is above the threshold.
        bound = threshold / found.W_dec.norm(dim=1) if by_length else threshold
        found = replace(found, activation=JumpReLU(bound))
    return found


def _scales(files: Files, asked: Asked, found: Canonical) -> tuple[float, float]:
    """By what activations were multiplied in training: those that are read, and those written."""
    mode = files.config.get("norm_activation", "dataset-wise")
    if asked.scale is not None:
        return asked.scale, asked.scale
    if mode in ("inference", "token-wise"):
        return 1.0, 1.0
    if mode != "dataset-wise":
        raise ValueError(f"{files.described}: norm_activation={mode!r} is not supported")
    known = files.config.get("dataset_average_activation_norm")
    known = known if isinstance(known, dict) else {}
    hooks = (found.hook, found.hook_out or found.hook)
    lengths = []
    for side, hook in zip(("in", "out"), hooks, strict=True):
        name = f"dataset_average_activation_norm.{hook}"
        said = float(files.tensors[name]) if name in files.tensors else known.get(side)
        what = (
            "how long activations are on average (dataset_average_activation_norm), so that it is "
            "not known by what they were multiplied: √d_model / that length"
        )
        lengths.append(float(files.need("scale", None, said, what)))
    into, out_of = lengths
    return math.sqrt(found.W_enc.shape[0]) / into, math.sqrt(found.W_dec.shape[1]) / out_of
