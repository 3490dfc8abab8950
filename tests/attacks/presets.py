"""Two processes, and two threads, keep presets in one file at the same time: is any lost?

    python tests/attacks/presets.py 10

prints as JSON how many of the presets of 10 rounds with 2 × 100 writes were there at the end.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import tempfile
import threading
from pathlib import Path

from sae_widgets.steering.presets import FILE, Presets


def write(path: Path, who: str, times: int) -> None:
    presets = Presets(path)
    for i in range(times):
        presets[f"{who} {i}"] = []


def lost(path: Path, kind: type, times: int) -> int:
    """Of 2 × `times` presets, how many two writers of this kind have lost."""
    writers = [kind(target=write, args=(path, who, times)) for who in ("one", "other")]
    for each in writers:
        each.start()
    for each in writers:
        each.join()
    return 2 * times - len(Presets(path))


def main(rounds: int) -> None:
    kinds = {"processes": multiprocessing.get_context("spawn").Process, "threads": threading.Thread}
    found = {}
    for name, kind in kinds.items():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = sum(lost(Path(folder) / f"{i}-{FILE}", kind, 100) for i in range(rounds))
    print(json.dumps({"writes of each": rounds * 200, "lost": found}))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
