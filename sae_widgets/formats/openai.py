"""OpenAI's sparse_autoencoder: one `.pt` file a layer, with the activation function's name in it.

A TopK SAE normalises its input, one with ReLU does not: no file says so. The directions of the
newest release (v5) belong to activations without centred weights (center_writing_weights=False).
"""

from __future__ import annotations

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files
from sae_widgets.sae import Activation, LayerNorm, Relu, TopK

NAME = "OpenAI's sparse_autoencoder"
SCALED = False

HOOKS = {
    "mlp_post_act": "mlp.hook_post",
    "resid_delta_attn": "hook_attn_out",
    "resid_delta_mlp": "hook_mlp_out",
    "resid_post_attn": "hook_resid_mid",
    "resid_post_mlp": "hook_resid_post",
}


def detects(files: Files) -> bool:
    return files.has("encoder.weight", "pre_bias", "latent_bias")


def read(files: Files, asked: Asked) -> Canonical:
    tensors = files.tensors
    activation = _activation(files, asked)
    place = files.named(rf"({'|'.join(HOOKS)})[^/]*/(?:.*/)?(\d+)\.pt$")
    hook = f"blocks.{place[2]}.{HOOKS[place[1]]}" if place else None
    return Canonical(
        W_enc=tensors["encoder.weight"].T,
        b_enc=tensors["latent_bias"],
        W_dec=tensors["decoder.weight"].T,
        b_dec=tensors["pre_bias"],
        hook=files.need("hook", asked.hook, hook, "which hook it reads"),
        activation=activation,
        pre_bias=True,
        normalization=LayerNorm() if isinstance(activation, TopK) else None,
    )


def _activation(files: Files, asked: Asked) -> Activation:
    said = files.tensors.values_beside
    state = said.get("activation_state_dict")
    state = state if isinstance(state, dict) else {}
    name, after = said.get("activation", "ReLU"), state.get("postact_fn", "ReLU")
    if name not in ("ReLU", "TopK") or after != "ReLU":
        raise ValueError(
            f"{files.weights}: the activation function {name!r} with {after!r} is not supported; "
            "ReLU, and TopK with ReLU, are"
        )
    if name == "ReLU":
        return Relu()
    return TopK(files.count("k", asked.k, state.get("k"), "how many features fire (k)"))
