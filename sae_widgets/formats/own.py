"""Our own format: SAELens 6's `cfg.json` and `sae_weights.safetensors`, and statistics.

SAELens reads such a folder as one of its own. What it has no place for stands under `metadata`,
`sae_widgets`: name, title, placebo, provenance and the hash of each file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from sae_widgets.files import recover, whole_folder
from sae_widgets.formats import saelens
from sae_widgets.formats.canonical import Asked, Canonical
from sae_widgets.formats.files import Files, open_tensors
from sae_widgets.sae import SAE, Centred, ConstantNorm, JumpReLU, LayerNorm, Relu, Stats, TopK

NAME = "sae_widgets"
SCALED = False

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
STATS = "stats.safetensors"


def save_sae(sae: SAE, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write `sae` into `folder`, replacing an SAE that is there. `dtype` is that of the weights.

    Everything is written beside `folder` first: whatever ends the program, the old SAE or the new
    one is whole, and `load_sae` finds it. Raises an OSError that names the folder if it cannot be
    written, as on a full disk.
    """
    folder = Path(folder)
    recover(folder)
    if folder.exists() and not (folder / CONFIG).is_file() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds something that is not an SAE; choose another folder")
    with whole_folder(folder) as new:
        save_file(_to_tensors(sae, dtype), new / WEIGHTS)
        if sae.stats is not None:
            save_file(_stats_to_tensors(sae.stats), new / STATS)
        config = json.dumps(_to_config(sae, dtype, _hashes(new)), indent=2, sort_keys=True)
        (new / CONFIG).write_text(config + "\n", encoding="utf-8")
    return folder


# Writing


def _to_tensors(sae: SAE, dtype: torch.dtype) -> dict[str, Tensor]:
    names = ("W_enc", "b_enc", "W_dec", "b_dec", "W_skip")
    tensors: dict[str, Tensor | None] = {name: getattr(sae, name) for name in names}
    if isinstance(sae.activation, JumpReLU):
        tensors["threshold"] = sae.activation.threshold
    return {
        name: tensor.detach().to("cpu", dtype).contiguous()
        for name, tensor in tensors.items()
        if tensor is not None
    }


def _to_config(sae: SAE, dtype: torch.dtype, hashes: Mapping[str, str]) -> dict[str, Any]:
    norms = {
        type(None): "none",
        Centred: "none",
        LayerNorm: "layer_norm",
        ConstantNorm: "constant_norm_rescale",
    }
    topk = {"k": sae.activation.k} if isinstance(sae.activation, TopK) else {}
    out = {"d_out": sae.d_model} if sae.is_transcoder else {}
    return {
        "architecture": _architecture(sae),
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": str(dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.pre_bias,
        "normalize_activations": norms[type(sae.normalization)],
        "reshape_activations": "hook_z" if sae.hook.endswith("hook_z") else "none",
        **topk,
        **out,
        "metadata": {
            "sae_lens_version": "6.0.0",  # the layout this is, not what wrote it
            "model_name": sae.provenance.get("model"),
            "hook_name": sae.hook,
            "neuronpedia_id": sae.provenance.get("neuronpedia"),
            **({"hook_name_out": sae.hook_out} if sae.is_transcoder else {}),
            "prepend_bos": sae.provenance.get("prepend_bos", True),
            "sae_widgets": {
                "name": sae.name,
                "title": sae.title,
                "placebo": sae.placebo,
                "centred": isinstance(sae.normalization, Centred),
                "provenance": sae.provenance,
                "sha256": dict(hashes),
            },
        },
    }


def _architecture(sae: SAE) -> str:
    """What SAELens calls it."""
    name = {Relu: "standard", JumpReLU: "jumprelu", TopK: "topk"}.get(type(sae.activation))
    if sae.is_transcoder:
        skip = "" if sae.W_skip is None else "skip_"
        first = {"standard": "", "jumprelu": "jumprelu_"}.get(name or "")
        name = None if first is None else f"{first}{skip}transcoder"
    elif sae.W_skip is not None:
        name = None
    if name is None:
        kind = "a transcoder" if sae.is_transcoder else "an SAE"
        skip = "" if sae.W_skip is None else " and a skip connection"
        raise ValueError(
            f"SAELens's layout, in which SAEs are saved, has no place for {kind} with "
            f"{type(sae.activation).__name__}{skip}: {sae.name!r} cannot be saved"
        )
    return name


def _stats_to_tensors(stats: Stats) -> dict[str, Tensor]:
    return {
        "peak": stats.peak.float().cpu().contiguous(),
        "density": stats.density.float().cpu().contiguous(),
        "mean": stats.mean.float().cpu().contiguous(),
        "histogram": stats.histogram.to("cpu", torch.int32).contiguous(),
        "norm": torch.tensor([stats.norm], dtype=torch.float32),
        "tokens": torch.tensor([stats.tokens], dtype=torch.int64),
    }


def _hashes(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.safetensors"))
    }


# Reading


def detects(files: Files) -> bool:
    metadata = files.config.get("metadata")
    return isinstance(metadata, dict) and isinstance(metadata.get("sae_widgets"), dict)


def read(files: Files, asked: Asked) -> Canonical:
    ours = files.config["metadata"]["sae_widgets"]
    hashes = ours.get("sha256", {})
    _check_hash(files.weights, hashes.get(WEIGHTS))
    found = saelens.canonical(files, files.config, files.tensors, asked)
    if ours.get("centred"):
        found = found.centred(files.address)
    return replace(
        found,
        name=ours.get("name"),
        title=ours.get("title", ""),
        placebo=ours.get("placebo"),
        provenance=ours.get("provenance") or {},
        stats=_stats(files, hashes, found.W_dec.shape[0]),
    )


def _check_hash(path: Path, expected: str | None) -> None:
    if expected is None or not path.is_file():
        return
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise ValueError(
            f"{path} is not the file that was saved: its SHA-256 is {found[:16]}… and {CONFIG} "
            f"says {expected[:16]}…. It was truncated, corrupted or replaced; get it again."
        )


def _stats(files: Files, hashes: Mapping[str, str], d_sae: int) -> Stats | None:
    path = files.weights.parent / STATS
    if not path.exists() and STATS not in hashes:
        return None
    _check_hash(path, hashes.get(STATS))
    tensors = open_tensors(path)
    if len(tensors["peak"]) != d_sae:
        raise ValueError(f"{path} is about {len(tensors['peak'])} features; the SAE has {d_sae}")
    for name in ("peak", "density", "mean", "norm", "tokens"):
        shape = (1,) if name in ("norm", "tokens") else (d_sae,)
        held = tensors[name]
        if tuple(held.shape) != shape or not bool(((held >= 0) & held.isfinite()).all()):
            raise ValueError(
                f"{path}: {name} is to hold finite numbers from 0, in the shape {shape}; got the "
                f"shape {tuple(held.shape)}, or others"
            )
    return Stats(
        peak=tensors["peak"],
        density=tensors["density"],
        mean=tensors["mean"],
        histogram=tensors["histogram"],
        norm=float(tensors["norm"]),
        tokens=int(tensors["tokens"]),
    )
