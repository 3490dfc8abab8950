"""Weights and pages that claim far more than they hold: what does it cost to refuse them?

    python tests/attacks/bombs.py

opens each in a process of its own and prints as JSON the seconds and the megabytes of memory that
it took, beyond those of a file that is as it should be, and what was said.
"""

from __future__ import annotations

import json
import multiprocessing
import resource
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

import sae_widgets as sw

D, F = 16, 32


def gemma(path: Path, **more: Any) -> None:
    """As Gemma Scope's."""
    arrays = {
        "W_enc": np.ones((D, F), np.float32),
        "b_enc": np.zeros(F, np.float32),
        "W_dec": np.ones((F, D), np.float32),
        "b_dec": np.zeros(D, np.float32),
        "threshold": np.ones(F, np.float32),
    }
    np.savez_compressed(path, **{**arrays, **more})


def zeros(path: Path, name: str, gigabytes: int) -> None:
    """An array of zeros, which is small in the file; written a part at a time."""
    gemma(path)
    part, rest = b"\0" * 10_000_000, gigabytes * 100
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file,
        file.open(f"{name}.npy", "w", force_zip64=True) as opened,
    ):
        head = {"descr": "<f4", "fortran_order": False, "shape": (D, rest * len(part) // 4 // D)}
        np.lib.format.write_array_header_1_0(opened, head)
        for _ in range(rest):
            opened.write(part)


def held(make: Callable[[], torch.Tensor]) -> Callable[[Path], None]:
    return lambda path: torch.save(
        {"encoder.weight": make(), "decoder.weight": torch.ones(D, F)}, path
    )


def sparse() -> torch.Tensor:
    with torch.sparse.check_sparse_tensor_invariants():
        return torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6))


WEIGHTS: dict[str, tuple[str, Callable[[Path], None]]] = {
    "as it should be": ("params.npz", gemma),
    "3 GB of zeros that nobody asks for": ("params.npz", lambda p: zeros(p, "other", 3)),
    "3 GB of zeros": ("params.npz", lambda p: zeros(p, "W_skip", 3)),
    "40,000 × 40,000 of one number": ("ae.pt", held(lambda: torch.ones(1).expand(40_000, 40_000))),
    "10⁶ × 10⁶ of one number": ("ae.pt", held(lambda: torch.ones(1).expand(10**6, 10**6))),
    "meta": ("ae.pt", held(lambda: torch.empty(10**6, 10**6, device="meta"))),
    "sparse": ("ae.pt", held(sparse)),
    "a configuration of 20 MB": ("cfg.json", lambda p: p.write_text('{"a": "' + "x" * 2 * 10**7)),
}


def opened(folder: str, name: str, told: Any) -> None:
    torch.set_num_threads(1)
    path = Path(folder) / name
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    try:
        sw.load_sae(path.parent if name == "cfg.json" else path, hook="blocks.0.hook_resid_post")
        said = "loaded"
    except (ValueError, FileNotFoundError) as error:
        said = str(error)
    seconds = time.perf_counter() - start
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000
    told.put({"seconds": round(seconds, 2), "MB": round(megabytes), "said": said[:200]})


def cost(make: Callable[[Path], None], name: str) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder) / name)
        if name == "cfg.json":
            gemma(Path(folder) / "sae_weights.npz")
        told = context.Queue()
        child = context.Process(target=opened, args=(folder, name, told))
        child.start()
        found: dict[str, Any] = told.get(timeout=120)
        child.join()
        return found


if __name__ == "__main__":
    found = {what: cost(make, name) for what, (name, make) in WEIGHTS.items()}
    print(json.dumps(found, indent=1, ensure_ascii=False))
