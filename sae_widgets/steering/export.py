"""Edits for other programs: llama.cpp, lm-evaluation-harness, steering-vectors, and plain code.

What these can do is less than an edit can: they add a vector to every token, special ones too.
An edit that says more than that is refused rather than exported as something else.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from sae_widgets.files import whole
from sae_widgets.model import Model, block_name, family
from sae_widgets.sae import SAE
from sae_widgets.steering.acts import Push
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.code import to_code
from sae_widgets.steering.edits import Add, AnyEdit
from sae_widgets.steering.terms import SAEs, by_name, terms


def vectors(edits: Sequence[AnyEdit], saes: Mapping[str, SAE]) -> dict[str, Float[Tensor, " d"]]:
    """What `edits` add at each hook point. Only Adds to all tokens are no more than a vector."""
    for edit in edits:
        if edit.on and not (isinstance(edit, Add) and edit.where == "all"):
            raise ValueError(
                f"{edit!r} cannot be exported: a vector can only be added, to every token. Add "
                "with where='all' can be; for the rest, export code (a name ending in .py)"
            )
        if edit.on and (edit.schedule is not None or edit.when is not None):
            raise ValueError(
                f"{edit!r} cannot be exported: a vector knows neither schedules nor conditions"
            )
    found: dict[str, Tensor] = {}
    for term in terms(Arm("exported", tuple(edits)), saes):
        assert isinstance(term.act, Push)
        if term.act.sae is not None:
            raise ValueError(
                f"SAE {term.act.sae.name!r} normalises every activation, so a push of its features "
                "is another vector at each token and cannot be exported; one in unit='norm' can be"
            )
        pushed = term.act.direction.detach().float().cpu()
        found[term.hook] = found[term.hook] + pushed if term.hook in found else pushed
    if not found:
        raise ValueError("there is nothing to export: no edit is on")
    return found


def layer_vectors(
    edits: Sequence[AnyEdit], saes: Mapping[str, SAE]
) -> dict[int, Float[Tensor, " d"]]:
    """What `edits` add to the output of each block, by the block's number from 0."""
    found: dict[int, Tensor] = {}
    for hook, vector in vectors(edits, saes).items():
        place = re.fullmatch(r"blocks\.(\d+)\.hook_resid_(pre|post)", hook)
        layer = -1 if place is None else int(place[1]) - (place[2] == "pre")
        if layer < 0:
            raise ValueError(
                f"{hook!r} is not the output of a block, where other programs add vectors; edits "
                "of the residual stream after a block (blocks.N.hook_resid_post) can be exported"
            )
        found[layer] = found[layer] + vector if layer in found else vector
    return found


def export(path: str | Path, model: Model, sae: SAEs, edits: Sequence[AnyEdit]) -> Path:
    """Write `edits` for another program, which the name's ending says.

    .gguf  a control vector for llama.cpp, as repeng writes it (needs the package gguf)
    .steering_vectors.pt  for the library of that name, which wants an older transformers than
           sae_widgets and so an environment of its own:
           SteeringVector(**torch.load("sea.steering_vectors.pt")).apply(model)
    .pt    a `steer_path` for lm-evaluation-harness's model `steered`
    .py    code that makes the edits, in sae_widgets

    The file is written beside and put in its place when it is whole.
    """
    path = Path(path)
    kinds: dict[str, Callable[[Path, Model, Mapping[str, SAE], Sequence[AnyEdit]], None]] = {
        ".gguf": _gguf,
        ".steering_vectors.pt": _steering_vectors,
        ".pt": _lm_eval,
        ".py": _code,
    }
    write = next((write for end, write in kinds.items() if path.name.endswith(end)), None)
    if write is None:
        raise ValueError(f"the name ends in one of {', '.join(kinds)}; got {path.name!r}")
    with whole(path) as part:
        write(part, model, by_name(sae), edits)
    return path


def _gguf(path: Path, model: Model, saes: Mapping[str, SAE], edits: Sequence[AnyEdit]) -> None:
    found = layer_vectors(edits, saes)
    if 0 in found:
        raise ValueError(
            "llama.cpp takes control vectors from the second block on, and an edit acts after the "
            "first (blocks.0.hook_resid_post)"
        )
    try:
        from gguf import GGUFWriter
    except ImportError as error:
        raise ImportError(
            "a control vector is written by gguf: pip install 'sae-widgets[export]'"
        ) from error
    writer = GGUFWriter(path, "controlvector")
    writer.add_string("controlvector.model_hint", family(model))
    writer.add_uint32("controlvector.layer_count", len(found))
    for layer, vector in sorted(found.items()):
        writer.add_tensor(f"direction.{layer}", vector.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _steering_vectors(
    path: Path,
    model: Model,  # noqa: ARG001
    saes: Mapping[str, SAE],
    edits: Sequence[AnyEdit],
) -> None:
    """The arguments of a `SteeringVector`."""
    found = {"layer_activations": layer_vectors(edits, saes), "layer_type": "decoder_block"}
    _save(found, path)


def _lm_eval(path: Path, model: Model, saes: Mapping[str, SAE], edits: Sequence[AnyEdit]) -> None:
    found: dict[str, dict[str, Any]] = {
        block_name(model, layer): {
            "steering_vector": vector,
            "steering_coefficient": 1.0,
            "action": "add",
            "bias": None,
            "head_index": None,
        }
        for layer, vector in layer_vectors(edits, saes).items()
    }
    _save(found, path)


def _save(found: Any, path: Path) -> None:
    """By way of memory: torch says of a full disk neither that it is full nor which file it was."""
    data = io.BytesIO()
    torch.save(found, data)
    path.write_bytes(data.getvalue())


def _code(path: Path, model: Model, saes: Mapping[str, SAE], edits: Sequence[AnyEdit]) -> None:  # noqa: ARG001
    path.write_text(to_code(edits), encoding="utf-8")
