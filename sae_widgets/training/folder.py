"""The folder of a training run: what it was told, its checkpoints, the SAEs that came of it.

`run.json` says what the run depends on, `checkpoint-N` is what `transformers.Trainer` keeps after
N steps, and every trained SAE has a folder under its name.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from sae_widgets.files import put

RUN = "run.json"
COMPLETE = "trainer_state.json"  # the trainer writes it last
WEIGHTS = "model.safetensors"
PICKLED = ("optimizer.pt", "scheduler.pt")
CHANCE = "rng_state*.pth"  # one of each process
SUMS = "sums.json"  # of what was written

Existing = Literal["refuse", "resume", "replace"]
"""What to do with a run that is in the folder: nothing, go on with it, or throw it away."""


def check(folder: Path, existing: str) -> None:
    """Raise unless a run may be begun, or gone on with, in `folder`."""
    if existing not in ("refuse", "resume", "replace"):
        raise ValueError(f"existing is 'refuse', 'resume' or 'replace'; got {existing!r}")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; name a folder to keep the run in")
    if not folder.exists() or not any(folder.iterdir()):
        return
    if not (folder / RUN).is_file():
        raise FileExistsError(f"{folder} holds something that is no training run; name another")
    if existing == "refuse":
        last = last_checkpoint(folder)
        raise FileExistsError(
            f"{folder} holds a run already ({last.name if last else 'no checkpoint yet'}). Pass "
            "existing='resume' (--resume) to go on with it, existing='replace' (--replace) to "
            "throw it away, or name another folder"
        )


def last_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint that is whole."""
    return next((path for path in checkpoints(folder) if damage(path) is None), None)


def checkpoints(folder: Path) -> list[Path]:
    """All that bear the name of one, the newest first."""
    found = [path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name)]
    return sorted(found, key=step_of, reverse=True)


_NAME = re.compile(r"checkpoint-\d+")


def begin_from(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole to the last byte, and what is to be said of newer ones.

    None where no checkpoint was written to its end. Raises a ValueError where some were, but none
    is whole any more: to begin anew would throw away what may still be mended.
    """
    broken: dict[Path, str] = {}
    for path in checkpoints(folder):
        wrong = damage(path, thorough=True)
        if wrong is None:
            said = [f"{each} is passed over: {why}" for each, why in broken.items()]
            return path, [f"{each}. The run goes on from {path.name}" for each in said]
        broken[path] = wrong
    if any(_is_complete(path) for path in broken):
        reasons = "; ".join(f"{each}: {why}" for each, why in broken.items())
        raise ValueError(
            f"no checkpoint of this run is whole any more, so it cannot be gone on with. {reasons}."
            " Put back what is missing, or pass existing='replace' (--replace) to begin anew"
        )
    return None, [f"{each} is passed over: {why}" for each, why in broken.items()]


def damage(checkpoint: Path, *, thorough: bool = False) -> str | None:
    """What keeps a run from going on from a checkpoint to the same weights; None: nothing.

    thorough: read everything, and not only where it ends.
    """
    if not _is_complete(checkpoint):
        return f"{COMPLETE} is missing or cut off, so it was not written to its end"
    try:
        with safe_open(checkpoint / WEIGHTS, "pt"):
            pass
    except (OSError, SafetensorError) as error:
        return f"{WEIGHTS} cannot be read ({error})"
    if thorough and (bad := _altered(checkpoint)) is not None:
        return bad
    chance = sorted(path.name for path in checkpoint.glob(CHANCE))
    for name in (*PICKLED, *(chance or [CHANCE.replace("*", "")])):
        try:
            with zipfile.ZipFile(checkpoint / name) as archive:
                if thorough and (bad := archive.testzip()) is not None:
                    return f"{name} is damaged at {bad!r}"
        except FileNotFoundError:
            return f"{name} is missing"
        # Of an odd flag in it, the archive says that it cannot be read in ways of its own.
        except (OSError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
            return f"{name} cannot be read ({error})"
    return None


def seal(checkpoint: Path) -> None:
    """Write down what is in a checkpoint, so that one byte that is another is noticed."""
    names = (WEIGHTS, *PICKLED, CHANCE.replace("*", ""), COMPLETE)
    sums = {name: _sum(checkpoint / name) for name in names if (checkpoint / name).is_file()}
    put(checkpoint / SUMS, f"{json.dumps(sums, indent=2)}\n".encode())


def _altered(checkpoint: Path) -> str | None:
    """Which file is not what was sealed; None also where nothing was."""
    try:
        sums = dict(json.loads((checkpoint / SUMS).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None  # earlier versions wrote none
    except (OSError, ValueError, TypeError) as error:
        return f"{SUMS} cannot be read ({error})"
    for name in (WEIGHTS, *PICKLED, CHANCE.replace("*", ""), COMPLETE):
        path = checkpoint / name
        if name in sums and path.is_file() and _sum(path) != sums[name]:
            return f"{name} is not what was written"
    return None


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def step_of(checkpoint: Path) -> int:
    """How many steps were made when a checkpoint was written."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def history(checkpoint: Path) -> list[dict[str, Any]]:
    """The log up to a checkpoint, line by line; what its figures are is in `Learner.log`."""
    return [line for line in _log(checkpoint) if "loss" in line]


def _is_complete(checkpoint: Path) -> bool:
    try:
        _log(checkpoint)
    # The run was killed, or the disk full, while it was written.
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return True


def _log(checkpoint: Path) -> list[dict[str, Any]]:
    state = json.loads((checkpoint / COMPLETE).read_text(encoding="utf-8"))
    return list(state["log_history"])


def begin(folder: Path, run: Mapping[str, Any]) -> None:
    """Write down what a run depends on; the run that was in the folder before is thrown away."""
    if (folder / RUN).is_file():
        for path in {*folder.glob("checkpoint-*"), *saes_in(folder)}:
            if path.is_symlink() or path.is_file():
                path.unlink()  # what a link leads to may be somebody else's
            else:
                shutil.rmtree(path)
    folder.mkdir(parents=True, exist_ok=True)
    put(folder / RUN, (json.dumps(run, indent=2) + "\n").encode())


def saes_in(folder: Path) -> list[Path]:
    """Where the run in `folder` has kept SAEs."""
    try:
        recipes = json.loads((folder / RUN).read_text(encoding="utf-8"))["recipes"]
        names = {str(recipe["name"]) for recipe in recipes}
    except (OSError, ValueError, LookupError, TypeError):
        return []
    # The record may be a stranger's, and name any folder: "..", "/home".
    return [path for path in sorted(folder.iterdir()) if path.name in names and path.is_dir()]


def compare(folder: Path, run: Mapping[str, Any]) -> None:
    """Raise unless the run in `folder` depends on the same as this one."""
    path = folder / RUN
    try:
        kept = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{path} is corrupt, so the run cannot be gone on with: {error}. Pass "
            "existing='replace' (--replace) to begin it anew, or name another folder"
        ) from error
    for what, now in json.loads(json.dumps(run)).items():
        before = kept.get(what)
        if before != now:
            raise ValueError(
                f"the run in {folder} cannot be gone on with: {_difference(what, before, now)}. "
                "Go on with what it was begun with, or name another folder"
            )


def _difference(what: str, before: Any, now: Any) -> str:
    """The first thing in which two records differ."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in {**before, **now}:
            if before.get(name) != now.get(name):
                return _difference(f"{what}: {name}", before.get(name), now.get(name))
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for number, (one, other) in enumerate(zip(before, now, strict=True), 1):
            if one != other:
                return _difference(f"{what} {number}", one, other)
    return f"{what} was {before!r} and is {now!r} now"
