"""Our own format: SAELens 6's `cfg.json` and `sae_weights.safetensors`, and statistics.

SAELens reads such a folder as one of its own. What it has no place for stands under `metadata`,
`sae_widgets`: name, title, placebo, provenance and the hash of each file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from sae_widgets.sae import SAE, Activation, JumpReLU, Relu, Stats, TopK

CONFIG = "cfg.json"
WEIGHTS = "sae_weights.safetensors"
STATS = "stats.safetensors"


def save_sae(sae: SAE, folder: str | Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write `sae` into `folder`, replacing an SAE that is there. `dtype` is that of the weights.

    Everything is written beside `folder` first, so that a crash leaves the old one whole.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / CONFIG).is_file() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} holds something that is not an SAE; choose another folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        os.chmod(new, 0o755)
        save_file(_to_tensors(sae, dtype), new / WEIGHTS)
        if sae.stats is not None:
            save_file(_stats_to_tensors(sae.stats), new / STATS)
        config = json.dumps(_to_config(sae, dtype, _hashes(new)), indent=2, sort_keys=True)
        (new / CONFIG).write_text(config + "\n", encoding="utf-8")
        old = new.with_name(new.name + "-old")
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder


def load_sae(path: str | Path) -> SAE:
    """Read the SAE in the folder `path`. Its weights are held in float32."""
    folder = Path(path)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no SAE at {str(path)!r}: it is not a folder")
    config = _read_config(folder)
    metadata = config.get("metadata", {})
    ours = metadata.get("sae_widgets", {})
    hashes = ours.get("sha256", {})
    tensors = _read_tensors(folder / WEIGHTS, hashes.get(WEIGHTS))
    for name in ("W_enc", "W_dec", "b_dec", "b_enc"):
        if name not in tensors:
            raise ValueError(f"{folder / WEIGHTS} lacks the tensor {name!r}; it has {[*tensors]}")
    d_sae, d_model = tensors["W_dec"].shape
    sae = SAE(
        d_model,
        d_sae,
        _hook(config, folder),
        _activation(config, tensors, folder),
        pre_bias=bool(config.get("apply_b_dec_to_input", True)),
        name=ours.get("name", folder.name),
        title=ours.get("title", ""),
        placebo=ours.get("placebo"),
        provenance=ours.get("provenance") or _provenance(metadata),
    )
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        own = getattr(sae, name)
        if own.shape != tensors[name].shape:
            raise ValueError(
                f"{folder / WEIGHTS}: {name} has shape {tuple(tensors[name].shape)} where W_dec "
                f"asks for {tuple(own.shape)}"
            )
        own.data = tensors[name]
    if (folder / STATS).exists() or STATS in hashes:
        sae.stats = _stats(_read_tensors(folder / STATS, hashes.get(STATS)), d_sae, folder)
    return sae.requires_grad_(False).eval()


# Writing


def _to_tensors(sae: SAE, dtype: torch.dtype) -> dict[str, Tensor]:
    names = ("W_enc", "b_enc", "W_dec", "b_dec")
    tensors: dict[str, Tensor] = {name: getattr(sae, name) for name in names}
    if isinstance(sae.activation, JumpReLU):
        tensors["threshold"] = sae.activation.threshold
    return {name: tensor.detach().to("cpu", dtype).contiguous() for name, tensor in tensors.items()}


def _to_config(sae: SAE, dtype: torch.dtype, hashes: Mapping[str, str]) -> dict[str, Any]:
    kinds = {Relu: "standard", JumpReLU: "jumprelu", TopK: "topk"}
    topk = {"k": sae.activation.k} if isinstance(sae.activation, TopK) else {}
    return {
        "architecture": kinds[type(sae.activation)],
        "d_in": sae.d_model,
        "d_sae": sae.d_sae,
        "dtype": str(dtype).removeprefix("torch."),
        "device": "cpu",
        "apply_b_dec_to_input": sae.pre_bias,
        "normalize_activations": "none",
        "reshape_activations": "hook_z" if sae.hook.endswith("hook_z") else "none",
        **topk,
        "metadata": {
            "sae_lens_version": "6.0.0",  # the layout this is, not what wrote it
            "model_name": sae.provenance.get("model"),
            "hook_name": sae.hook,
            "neuronpedia_id": sae.provenance.get("neuronpedia"),
            "prepend_bos": True,
            "sae_widgets": {
                "name": sae.name,
                "title": sae.title,
                "placebo": sae.placebo,
                "provenance": sae.provenance,
                "sha256": dict(hashes),
            },
        },
    }


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


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())) or "nothing"
        raise FileNotFoundError(f"{folder} has no {CONFIG}, so it is no SAE folder; found: {found}")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # broken JSON or broken text
        raise ValueError(f"{path} is corrupt or truncated: {error}") from error
    if not isinstance(config, dict) or "architecture" not in config:
        raise ValueError(f"{path} does not describe an SAE: it names no 'architecture'")
    return config


def _read_tensors(path: Path, expected: str | None) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the SAE cannot be loaded without it")
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if expected is not None and found != expected:
        raise ValueError(
            f"{path} is not the file that was saved: its SHA-256 is {found[:16]}… and {CONFIG} "
            f"says {expected[:16]}…. It was truncated, corrupted or replaced; get it again."
        )
    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"{path} is corrupt or truncated: {error}") from error
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }


def _hook(config: Mapping[str, Any], folder: Path) -> str:
    hook = config.get("metadata", {}).get("hook_name")
    if not isinstance(hook, str):
        raise ValueError(f"{folder / CONFIG} does not say which hook the SAE reads (hook_name)")
    return hook


def _provenance(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What SAELens knows of where an SAE is from."""
    known = {"model": metadata.get("model_name"), "neuronpedia": metadata.get("neuronpedia_id")}
    return {name: value for name, value in known.items() if value}


def _activation(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], folder: Path
) -> Activation:
    if config.get("normalize_activations", "none") not in ("none", None):
        raise ValueError(
            f"{folder / CONFIG} asks for normalize_activations="
            f"{config['normalize_activations']!r}, which is not supported"
        )
    match config["architecture"]:
        case "standard":
            return Relu()
        case "topk":
            if not isinstance(config.get("k"), int):
                raise ValueError(f"{folder / CONFIG} does not say how many features fire (k)")
            return TopK(config["k"])
        case "jumprelu":
            if "threshold" not in tensors:
                raise ValueError(f"{folder / WEIGHTS} lacks the tensor 'threshold' of a JumpReLU")
            if tensors["threshold"].shape != tensors["b_enc"].shape:
                raise ValueError(
                    f"{folder / WEIGHTS}: threshold has shape {tuple(tensors['threshold'].shape)}; "
                    f"one for each feature is {tuple(tensors['b_enc'].shape)}"
                )
            return JumpReLU(tensors["threshold"])
        case other:
            raise ValueError(
                f"{folder / CONFIG}: SAEs of architecture {other!r} cannot be read; "
                "standard, topk and jumprelu can"
            )


def _stats(tensors: Mapping[str, Tensor], d_sae: int, folder: Path) -> Stats:
    if len(tensors["peak"]) != d_sae:
        raise ValueError(
            f"{folder / STATS} is about {len(tensors['peak'])} features; the SAE has {d_sae}"
        )
    return Stats(
        peak=tensors["peak"],
        density=tensors["density"],
        mean=tensors["mean"],
        histogram=tensors["histogram"],
        norm=float(tensors["norm"]),
        tokens=int(tensors["tokens"]),
    )
