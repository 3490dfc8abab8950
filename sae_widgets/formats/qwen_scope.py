"""Qwen Scope: `layer7.sae.pt` in a repository whose name says how many features fire.

`SAE-Res-Qwen3-1.7B-Base-W32K-L0_50`: a TopK with k = 50, of the residual stream after a block.
"""

from __future__ import annotations

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files
from sae_widgets.sae import TopK

NAME = "Qwen Scope"
SCALED = False


def detects(files: Files) -> bool:
    named = files.weights.name.endswith(".sae.pt")
    return named and files.has("W_enc", "b_enc", "W_dec", "b_dec")


def read(files: Files, asked: Asked) -> Canonical:
    tensors = files.tensors
    d_sae = len(tensors["b_enc"])
    sparsity = files.named(r"[^/]*SAE-Res-[^/]*-L0_(\d+)")
    layer = files.layer(r"layer(\d+)\.sae\.pt$")
    hook = None if layer is None else f"blocks.{layer}.hook_resid_post"
    W_enc, W_dec = tensors["W_enc"], tensors["W_dec"]
    k = None if sparsity is None else int(sparsity[1])
    return Canonical(
        # Users report both orders; the other length tells which it is.
        W_enc=W_enc if W_enc.shape[-1] == d_sae else W_enc.T,
        b_enc=tensors["b_enc"],
        W_dec=W_dec if W_dec.shape[0] == d_sae else W_dec.T,
        b_dec=tensors["b_dec"],
        hook=files.need("hook", asked.hook, hook, "which hook it reads"),
        activation=TopK(files.count("k", asked.k, k, "how many features fire (k)")),
    )
