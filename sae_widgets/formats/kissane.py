"""ckkissane's attention SAEs of GPT-2 small: `<name>.pt` and `<name>_cfg.json`, on `hook_z`."""

from __future__ import annotations

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files

NAME = "ckkissane's hook_z"
SCALED = False


def detects(files: Files) -> bool:
    return {"act_name", "dict_size"} <= set(files.config) and files.has("W_enc", "W_dec")


def read(files: Files, asked: Asked) -> Canonical:
    tensors = files.tensors
    hook = files.config["act_name"]
    return Canonical(
        W_enc=tensors["W_enc"],
        b_enc=tensors["b_enc"],
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        hook=files.need("hook", asked.hook, hook, "which hook it reads"),
        pre_bias=True,
        provenance={"model": "gpt2", "context": 128},
    )
