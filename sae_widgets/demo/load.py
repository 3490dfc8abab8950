"""Load the demo that ships with the package: model, SAEs, labels. Nothing is fetched."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_widgets.formats import load_sae
from sae_widgets.model import load_model, without_bars
from sae_widgets.session import Session

DATA = Path(__file__).parent / "data"
REMAKE = "Install sae-widgets again, or remake it with `python -m sae_widgets.demo.train`."


def load_demo(folder: str | Path = DATA) -> Session:
    """A session on the small language model that ships with the package, and its SAEs.

    Every file is compared with the hash that was written when the demo was made.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    _verify(folder, manifest["files"])
    with without_bars():
        model = load_model(folder / "model")
    model.cfg.model_name = "postcards"  # its folder's path would be another on every machine
    first, *others = [load_sae(folder / "saes" / name) for name in manifest["saes"]]
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    # The hashes say more than a try on some text could.
    return Session(model, first, labels=labels, saes=others, sample=None)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"the demo is not here: {path} is missing. {REMAKE}")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is corrupt or truncated: {error}. {REMAKE}") from error
    return dict(manifest)


def _verify(folder: Path, files: Mapping[str, str]) -> None:
    """Raise if a file is missing or is not the one that was written."""
    for name, expected in files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} of the demo is missing. {REMAKE}")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != expected:
            raise ValueError(
                f"{path} is not the file that was made with the demo: its SHA-256 is "
                f"{found[:16]}… and manifest.json says {expected[:16]}…. It was truncated, "
                f"corrupted or replaced. {REMAKE}"
            )
