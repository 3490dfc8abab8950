"""SAELens, versions 2 to 6: `cfg.json` and `sae_weights.safetensors`; and its SAEs in memory.

The first configurations call the hook `hook_point`; from 3 on it is `hook_name`, and from 6 on
what does not concern the arithmetic stands under `metadata`. BatchTopK and Matryoshka SAEs are
saved as JumpReLU, and under their own names only while they train.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files, read_json
from sae_widgets.sae import ConstantNorm, JumpReLU, LayerNorm, Normalization, TopK

NAME = "SAELens"
SCALED = True

FIELDS = {"architecture", "hook_name", "hook_point", "activation_fn_str"}

READ = (
    "standard, gated, jumprelu, topk, batchtopk, matryoshka_batchtopk, transcoder, "
    "skip_transcoder, jumprelu_transcoder and jumprelu_skip_transcoder"
)


@runtime_checkable
class TheirSAE(Protocol):
    """An SAE of SAELens in memory, as far as we need it: SAELens need not be installed."""

    cfg: Any
    W_dec: Any

    def encode(self, x: Tensor) -> Tensor: ...

    def state_dict(self) -> Any: ...


def detects(files: Files) -> bool:
    return bool(FIELDS & set(files.config)) and files.has("W_dec", "b_dec")


def read(files: Files, asked: Asked) -> Canonical:
    return canonical(files, files.config, files.tensors, asked)


def canonical(
    files: Files, config: Mapping[str, Any], tensors: Mapping[str, Tensor], asked: Asked
) -> Canonical:
    """An SAE of this configuration and these tensors; `files` says where they are from."""
    said = _flat(config)
    kind = str(said["architecture"])
    if said.get("hook_head_index") is not None:
        raise ValueError(
            f"{files.described}: this SAE reads one attention head alone (hook_head_index="
            f"{said['hook_head_index']!r}), which is not supported; one of all heads is"
        )
    transcoder = kind.endswith("transcoder")
    hook_out = None
    if transcoder:
        hook_out = files.need(
            "hook_out", asked.hook_out, said.get("hook_name_out"), "which hook it writes"
        )
    found = Canonical(
        W_enc=tensors["W_enc"],
        b_enc=tensors["b_mag" if kind == "gated" else "b_enc"],
        W_dec=tensors["W_dec"],
        b_dec=tensors["b_dec"],
        W_skip=tensors["W_skip"] if "skip" in kind else None,
        hook=files.need("hook", asked.hook, said.get("hook_name"), "which hook the SAE reads"),
        hook_out=hook_out,
        pre_bias=not transcoder and bool(said.get("apply_b_dec_to_input", True)),
        normalization=_normalization(files, said),
        provenance=_provenance(said),
    )
    found = _finetuned(files, said, tensors, found)
    scale = _scale(files, said, asked)
    if scale is not None:
        found = found.scaled(scale)
    return _activated(files, said, tensors, asked, found, scale or 1.0)


def from_memory(sae: TheirSAE, asked: Asked) -> Canonical:
    """An SAE of SAELens, doing what it does. Its weights are shared where none is folded in."""
    config = dict(sae.cfg.to_dict())
    metadata: Any = config.get("metadata")
    if hasattr(metadata, "to_dict"):
        config["metadata"] = metadata.to_dict()
    if config.get("normalize_activations") == "expected_average_only_in":
        config["normalize_activations"] = "none"  # in memory it is for whoever calls it
    here = Files(Path("the SAE in memory"), "memory", config, "the configuration of the SAE")
    tensors = {name: tensor.detach() for name, tensor in sae.state_dict().items()}
    found = canonical(here, config, tensors, asked)
    return replace(found, provenance={"format": NAME, "source": "memory", **found.provenance})


def _flat(config: Mapping[str, Any]) -> dict[str, Any]:
    """One dictionary, under the newest names."""
    metadata = config.get("metadata")
    said = {**config, **(metadata if isinstance(metadata, dict) else {})}
    for old, new in (("hook_point", "hook_name"), ("hook_point_head_index", "hook_head_index")):
        if old in said:
            said.setdefault(new, said[old])
    function = said.get("activation_fn_str", said.get("activation_fn")) or "relu"
    # Before version 6 a TopK SAE may call itself standard.
    kind = "topk" if function == "topk" else said.get("architecture") or "standard"
    arguments = said.get("activation_fn_kwargs")
    if isinstance(arguments, dict):
        said.setdefault("k", arguments.get("k"))
    return {**said, "architecture": kind, "activation_fn": function}


def _activated(
    files: Files,
    said: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    asked: Asked,
    found: Canonical,
    scale: float,
) -> Canonical:
    """With the activation function that the architecture means."""
    if said["activation_fn"] not in ("relu", "topk"):
        raise ValueError(
            f"{files.described}: the activation function {said['activation_fn']!r} is not "
            "supported; relu and topk are"
        )
    # Trained to choose features by value times length: that is what directions of length one do.
    by_length = bool(said.get("rescale_acts_by_decoder_norm", False))
    match said["architecture"]:
        case "standard" | "transcoder" | "skip_transcoder":
            return found
        case "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder":
            return replace(found, activation=JumpReLU(_threshold(tensors)))
        case "gated":
            return _gated(tensors, found)
        case "topk":
            k = files.count("k", asked.k, said.get("k"), "how many features fire (k)")
            found = found.unit_rows() if by_length else found
            return replace(found, activation=TopK(k))
        case "batchtopk" | "matryoshka_batchtopk":  # while it trains
            found = found.unit_rows() if by_length else found
            threshold = tensors["topk_threshold"] / (scale if by_length else 1.0)
            every = threshold.to(found.b_enc).expand_as(found.b_enc)
            return replace(found, activation=JumpReLU(every))
        case other:
            raise ValueError(
                f"{files.described}: SAEs of architecture {other!r} cannot be read; {READ} can"
            )


def _threshold(tensors: Mapping[str, Tensor]) -> Tensor:
    # Older training states keep its logarithm.
    return tensors["log_threshold"].exp() if "log_threshold" in tensors else tensors["threshold"]


def _gated(tensors: Mapping[str, Tensor], found: Canonical) -> Canonical:
    """A gated SAE is a JumpReLU: its gate opens exactly where its magnitude passes a threshold.

    With z = x·W_enc the gate asks for z + b_gate > 0; the magnitude is m = z·e^r_mag + b_mag. Both
    rise with z, so that is m > b_mag - e^r_mag · b_gate.
    """
    gain = tensors["r_mag"].exp()
    threshold = tensors["b_mag"] - gain * tensors["b_gate"]
    return replace(found, W_enc=found.W_enc * gain, activation=JumpReLU(threshold))


def _normalization(files: Files, said: Mapping[str, Any]) -> Normalization | None:
    match said.get("normalize_activations"):
        case None | False | "none" | True | "expected_average_only_in":
            return None
        case "layer_norm":
            return LayerNorm()
        case "constant_norm_rescale":
            return ConstantNorm()
        case other:
            raise ValueError(
                f"{files.described} asks for normalize_activations={other!r}, which is not "
                "supported; none, expected_average_only_in, layer_norm and constant_norm_rescale "
                "are"
            )


def _scale(files: Files, said: Mapping[str, Any], asked: Asked) -> float | None:
    """What the activations are multiplied by before the SAE reads them; None: by nothing."""
    if said.get("normalize_activations") not in (True, "expected_average_only_in"):
        return asked.scale
    beside = files.weights.parent / "activation_scaler.json"
    known = read_json(beside).get("scaling_factor") if beside.is_file() else None
    what = (
        "by what the activations are to be multiplied before this SAE reads them "
        "(normalize_activations=expected_average_only_in; SAELens lists it for the published "
        "SAEs, as norm_scaling_factor in its pretrained_saes.yaml; it is √d_in / the mean length "
        "of the activations)"
    )
    return float(files.need("scale", asked.scale, known, what))


def _finetuned(
    files: Files, said: Mapping[str, Any], tensors: Mapping[str, Tensor], found: Canonical
) -> Canonical:
    """With the factors by which a finetuned SAE multiplies what it decodes."""
    names = {"scaling_factor", "finetuning_scaling_factor"} & set(tensors)
    if not names:
        return found
    factor = tensors[names.pop()]
    if torch.equal(factor, torch.ones_like(factor)):  # some versions wrote these for all
        return found
    # Version 2 has no word for it, and always uses them.
    if not said.get("finetuning_scaling_factor", True):
        raise ValueError(
            f"{files.weights} has scaling factors, but {files.described} does not say that they "
            "are to be used (finetuning_scaling_factor): one of them is wrong"
        )
    return replace(found, W_dec=found.W_dec * factor[:, None])


def _provenance(said: Mapping[str, Any]) -> dict[str, Any]:
    kept = {
        "model": said.get("model_name"),
        "neuronpedia": said.get("neuronpedia_id"),
        "processing": said.get("model_from_pretrained_kwargs") or None,
        "prepend_bos": said.get("prepend_bos"),
        "context": said.get("context_size"),
        "data": said.get("dataset_path"),
    }
    return {name: value for name, value in kept.items() if value is not None}
