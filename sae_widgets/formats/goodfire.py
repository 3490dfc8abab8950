"""Goodfire's Llama SAEs and qresearch's of DeepSeek R1: a `.pt` of two linear maps, and no more.

The layer stands in the file's name (`…-l19.pth`, `…-l19-…`); what is read is its output.
"""

from __future__ import annotations

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files

NAME = "Goodfire"
SCALED = False


def detects(files: Files) -> bool:
    return any(
        files.has(f"encoder{end}.weight", f"encoder{end}.bias", f"decoder{end}.bias")
        for end in ("_linear", "")
    )


def read(files: Files, asked: Asked) -> Canonical:
    tensors = files.tensors
    end = "_linear" if "encoder_linear.weight" in tensors else ""
    layer = files.layer(r"[^/]*(?<![a-zA-Z])l(\d+)(?!\d)[^/]*$")
    hook = None if layer is None else f"blocks.{layer}.hook_resid_post"
    return Canonical(
        W_enc=tensors[f"encoder{end}.weight"].T,
        b_enc=tensors[f"encoder{end}.bias"],
        W_dec=tensors[f"decoder{end}.weight"].T,
        b_dec=tensors[f"decoder{end}.bias"],
        hook=files.need("hook", asked.hook, hook, "which hook it reads"),
    )
