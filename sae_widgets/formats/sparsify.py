"""EleutherAI's sparsify: `cfg.json` and `sae.safetensors` in a folder named after the module.

`W_dec` is already [d_sae, d_model]. An SAE takes `b_dec` away from what it reads, a transcoder
does not, whatever `normalize_decoder` says: that is about training.
"""

from __future__ import annotations

import re

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files
from sae_widgets.sae import Activation, GroupMax, TopK

NAME = "sparsify"
SCALED = False

# Hugging Face's names of a module: where what it reads and what it writes are hooked.
MODULES = {
    None: ("hook_resid_pre", "hook_resid_post"),
    "mlp": ("mlp.hook_in", "hook_mlp_out"),
    "attn": ("attn.hook_in", "hook_attn_out"),
    "attention": ("attn.hook_in", "hook_attn_out"),
    "self_attn": ("attn.hook_in", "hook_attn_out"),
}


def detects(files: Files) -> bool:
    return files.has("encoder.weight", "W_dec")


def read(files: Files, asked: Asked) -> Canonical:
    config, tensors = files.config, files.tensors
    if config.get("signed"):
        raise ValueError(
            f"{files.described}: this SAE chooses features by their absolute values (signed), "
            "so that they may be negative, which is not supported"
        )
    before, after = _hooks(files)
    transcode = bool(config.get("transcode", False))
    hook, hook_out = (before, after) if transcode else (after, None)
    if transcode:
        hook_out = files.need("hook_out", asked.hook_out, hook_out, "which hook it writes")
    return Canonical(
        W_enc=tensors["encoder.weight"].T,
        b_enc=tensors["encoder.bias"],
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        W_skip=tensors["W_skip"] if config.get("skip_connection") else None,
        hook=files.need("hook", asked.hook, hook, "which hook it reads"),
        hook_out=hook_out,
        activation=_activation(files, asked),
        pre_bias=not transcode,
    )


def _activation(files: Files, asked: Asked) -> Activation:
    k = files.count("k", asked.k, files.config.get("k"), "how many features fire (k)")
    match files.config.get("activation", "topk"):
        case "topk":
            return TopK(k)
        case "groupmax":
            return GroupMax(k)
        case other:
            raise ValueError(
                f"{files.described}: the activation function {other!r} is not supported; topk "
                "and groupmax are"
            )


def _hooks(files: Files) -> tuple[str | None, str | None]:
    """Where the module that the folder is named after is hooked: what it reads, and writes."""
    name = files.weights.parent.name
    if name in ("embed_tokens", "wte"):
        return None, "hook_embed"
    module = re.fullmatch(r"(?:[\w.]*\.)?(?:layers|h|blocks)\.(\d+)(?:\.(\w+))?", name)
    if module is None or module[2] not in MODULES:
        return None, None
    before, after = (f"blocks.{module[1]}.{hook}" for hook in MODULES[module[2]])
    return before, after
