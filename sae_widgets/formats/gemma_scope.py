"""Gemma Scope (`params.npz`) and Gemma Scope 2 (`params.safetensors`): JumpReLU, all folded in.

What is read is told by the names of the repository and its folders, and in Gemma Scope 2 by a
`config.json`. Their first position, BOS, is not what they were trained on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files
from sae_widgets.sae import JumpReLU

NAME = "Gemma Scope"
SCALED = False

NAMES = {"w_enc", "w_dec", "b_enc", "b_dec", "threshold"}

# Where each kind reads, and where a transcoder writes.
FIRST: dict[str, tuple[str, str | None]] = {
    "res": ("hook_resid_post", None),
    "mlp": ("hook_mlp_out", None),
    "att": ("attn.hook_z", None),
    "transcoders": ("ln2.hook_normalized", "hook_mlp_out"),
}
SECOND: dict[str, tuple[str, str | None]] = {
    "resid_post": ("hook_resid_post", None),
    "mlp_out": ("hook_mlp_out", None),
    "attn_out": ("attn.hook_z", None),
    "transcoder": ("mlp.hook_in", "hook_mlp_out"),
}


def detects(files: Files) -> bool:
    # SAELens has these names too, with a capital W; Gemma Scope's arrays come with either.
    known = files.weights.suffix == ".npz" or files.has("w_enc")
    return known and {name.lower() for name in files.tensors} >= NAMES


def read(files: Files, asked: Asked) -> Canonical:
    tensors: Mapping[str, Tensor] = {name.lower(): files.tensors[name] for name in files.tensors}
    hook, hook_out = _hooks(files)
    # A kind that is not known may still be said to be a transcoder.
    writes = asked.hook_out or hook_out
    skip = tensors.get("affine_skip_connection")
    found = Canonical(
        W_enc=tensors["w_enc"],
        b_enc=tensors["b_enc"],
        W_dec=tensors["w_dec"],
        b_dec=tensors["b_dec"],
        W_skip=None if skip is None else skip.T,
        hook=files.need("hook", asked.hook, hook, "which hook it reads"),
        hook_out=writes,
        activation=JumpReLU(tensors["threshold"]),
        provenance=_provenance(files),
    )
    if hook == "hook_embed":
        # Trained on embeddings before Gemma multiplies them by √d_model.
        root = math.sqrt(found.W_dec.shape[1])
        found = replace(found, W_enc=found.W_enc / root, W_dec=found.W_dec * root)
    return found


def _hooks(files: Files) -> tuple[str | None, str | None]:
    layer = files.layer(r"layer_(\d+)")
    first = files.named(rf"(?:models--\w+--)?gemma-scope-(?!2-)[^/]*-({'|'.join(FIRST)})(?=/|$)")
    if first is not None and files.named("embedding"):
        return "hook_embed", None
    kinds, kind = FIRST, first
    if kind is None:
        kinds, kind = SECOND, files.named(rf"({'|'.join(SECOND)})\w*(?=/)")
    if kind is None or layer is None:
        return None, None
    before, after = kinds[kind[1]]
    return f"blocks.{layer}.{before}", None if after is None else f"blocks.{layer}.{after}"


def _provenance(files: Files) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    if sparsity := files.named(r"average_l0_(\d+)"):
        kept["l0"] = int(sparsity[1])
    if isinstance(files.config.get("model_name"), str):
        kept["model"] = files.config["model_name"]
    elif name := files.named(r"(?:models--\w+--)?gemma-scope-(\w+)-(pt|it)-"):
        kept["model"] = f"google/gemma-2-{name[1]}{'-it' if name[2] == 'it' else ''}"
    return kept
