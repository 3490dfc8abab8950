"""dictionary_learning: `ae.pt`, and a `config.json` that names the class under `trainer`.

Training on scaled activations leaves no trace here: they are scaled back before they are saved.
"""

from __future__ import annotations

import re
from dataclasses import replace

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files
from sae_widgets.sae import Activation, JumpReLU, Relu, TopK

NAME = "dictionary_learning"
SCALED = False

HOOKS = {
    "resid_post": "hook_resid_post",
    "resid_pre": "hook_resid_pre",
    "mlp_out": "hook_mlp_out",
    "attention_out": "hook_attn_out",
    "attn_out": "hook_attn_out",
}


def detects(files: Files) -> bool:
    if "trainer" in files.config:
        return files.has("encoder.weight", "decoder.weight") or files.has("W_enc", "W_dec")
    # Without its configuration, by names that only this library gives.
    linear = files.has("encoder.weight", "decoder.weight")
    own = any(name in files.tensors for name in ("bias", "decoder_bias", "b_dec"))
    return (linear and own) or files.has("W_enc", "group_sizes")


def read(files: Files, asked: Asked) -> Canonical:
    tensors = files.tensors
    kind = _class(files)
    matrices = "W_enc" in tensors
    found = Canonical(
        W_enc=tensors["W_enc"] if matrices else tensors["encoder.weight"].T,
        b_enc=tensors[_bias(kind, matrices)],
        W_dec=tensors["W_dec"] if matrices else tensors["decoder.weight"].T,
        b_dec=tensors[_offset(kind)],
        hook=files.need("hook", asked.hook, _hook(files), "which hook it reads"),
        pre_bias=kind not in ("AutoEncoderNew", "JumpReluAutoEncoder"),
        provenance=_provenance(files),
    )
    if kind == "GatedAutoEncoder":
        # The same as a JumpReLU: see saelens.py.
        gain = tensors["r_mag"].exp()
        bound = tensors["mag_bias"] - gain * tensors["gate_bias"]
        return replace(found, W_enc=found.W_enc * gain, activation=JumpReLU(bound))
    found = replace(found, activation=_activation(files, asked, kind, found))
    # The library reads these with directions of length one, unless it is told not to.
    return found.unit_rows() if kind == "AutoEncoder" else found


def _class(files: Files) -> str:
    trainer = files.config.get("trainer")
    said = trainer.get("dict_class") if isinstance(trainer, dict) else None
    if said is not None:
        known = (
            "AutoEncoder, AutoEncoderNew, GatedAutoEncoder, AutoEncoderTopK, BatchTopKSAE, "
            "MatryoshkaBatchTopKSAE, JumpReluAutoEncoder"
        )
        if said not in known.split(", "):
            raise ValueError(
                f"{files.described}: dictionaries of the class {said!r} cannot be read; those of "
                f"{known} can"
            )
        return str(said)
    if "group_sizes" in files.tensors:
        return "MatryoshkaBatchTopKSAE"
    if "decoder_bias" in files.tensors:
        return "GatedAutoEncoder"
    return "AutoEncoder" if "bias" in files.tensors else "BatchTopKSAE"


def _bias(kind: str, matrices: bool) -> str:
    if kind == "GatedAutoEncoder":
        return "mag_bias"
    return "b_enc" if matrices else "encoder.bias"


def _offset(kind: str) -> str:
    names = {
        "AutoEncoder": "bias",
        "AutoEncoderNew": "decoder.bias",
        "GatedAutoEncoder": "decoder_bias",
    }
    return names.get(kind, "b_dec")


def _activation(files: Files, asked: Asked, kind: str, found: Canonical) -> Activation:
    tensors = files.tensors
    if kind in ("AutoEncoder", "AutoEncoderNew"):
        return Relu()
    if kind == "JumpReluAutoEncoder":
        return JumpReLU(tensors["threshold"])
    threshold = float(tensors["threshold"]) if "threshold" in tensors else -1.0
    told = "trainer" in files.config or asked.k is not None or asked.threshold is not None
    if kind == "BatchTopKSAE" and not told:
        raise ValueError(
            f"{files.weights} has no config.json beside it, and may be a TopK or a BatchTopK SAE: "
            f"pass k={int(tensors['k'])} to load_sae for the first, or threshold={threshold:g} for "
            "the second"
        )
    if kind == "AutoEncoderTopK" or threshold < 0:  # below 0: it was never found out
        said = int(tensors["k"]) if "k" in tensors else None
        return TopK(files.count("k", asked.k, said, "how many features fire (k)"))
    return JumpReLU(found.b_enc.new_full(found.b_enc.shape, threshold))


def _hook(files: Files) -> str | None:
    trainer = files.config.get("trainer")
    said = trainer if isinstance(trainer, dict) else {}
    name, layer = said.get("submodule_name"), said.get("layer")
    kind = re.match(rf"({'|'.join(HOOKS)})(?:_layer_(\d+))?$", name) if name else None
    if kind is None or not isinstance(layer, int):
        return None
    return f"blocks.{kind[2] or layer}.{HOOKS[kind[1]]}"


def _provenance(files: Files) -> dict[str, str]:
    trainer = files.config.get("trainer")
    model = trainer.get("lm_name") if isinstance(trainer, dict) else None
    return {} if model is None else {"model": str(model)}
