"""A model's folder that a stranger may have sent: whether it is data alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PICKLES = (".bin", ".ckpt", ".dill", ".joblib", ".pickle", ".pkl", ".pt", ".pt2", ".pth")
WEIGHTS = ".safetensors"
CODE = (".dll", ".dylib", ".py", ".pyc", ".pyd", ".so")

POINTERS = {"auto_map", "base_model_name_or_path", "custom_pipelines"}
"""Keys whose values `transformers` follows to code, or to a model elsewhere."""


def elsewhere(name: str) -> bool:
    """Whether Windows would ask another machine for the path `name`, however it is spelled."""
    return name.replace("\\", "/").startswith(("//", "/??/"))


def refusal(name: str) -> str | None:
    """Why the folder `name` cannot be loaded on a stranger's word; None: its model is data alone.

    Nothing in it is loaded to find out.
    """
    if elsewhere(name):
        return "it is on another machine"
    try:
        files = sorted(entry for entry in Path(name).iterdir() if entry.is_file())
    except (OSError, ValueError):  # ValueError: a name with a null character
        return "there is no such folder"
    if not any(file.suffix == WEIGHTS for file in files):
        return "it has no .safetensors"
    for file in files:
        ending = file.suffix.lower()
        if ending in PICKLES:
            return f"{file.name!r} may be a pickle, which could run code; take it away"
        if ending in CODE:
            return f"{file.name!r} is code"
        if ending == ".json" and (why := _pointing(file)):
            return f"{file.name!r} {why}"
    return None


def _pointing(file: Path) -> str | None:
    """What in a JSON file leads to code, or out of its folder."""
    try:
        # As transformers reads it. Of a key that stands there twice it takes the last; we all.
        held = json.loads(file.read_text("utf-8"), object_pairs_hook=list)
    except (OSError, ValueError, RecursionError):
        return "is not JSON"
    for key, value in _pairs(held):
        if key in POINTERS and value:
            return f"has {key!r}, which leads to code or to another model"
        if key == "weight_map" and not all(_plain(name, WEIGHTS) for _, name in _pairs(value)):
            return "names weights that are no .safetensors beside it"
        if not isinstance(value, str):
            continue
        if key.endswith("_file") and not _plain(value):
            return f"leads out of its folder in {key[:80]!r}"
        if key.endswith("_implementation") and "/" in value:
            return f"asks for code of the hub in {key[:80]!r}"
    return None


def _plain(name: Any, ending: str = "") -> bool:
    """Whether this is the name of a file in the same folder."""
    return isinstance(name, str) and not set(name) & set("/\\:") and name.endswith(ending)


def _pairs(held: Any) -> Iterator[tuple[str, Any]]:
    """Every key of every object at any depth, with what it holds."""
    todo = [[held]]
    while todo:
        for each in todo.pop():
            # The parser makes a tuple of a key and its value, and of nothing else.
            if isinstance(each, tuple):
                yield each
                each = each[1]
            if isinstance(each, list):
                todo.append(each)
