"""Kill each writer at each of its calls to the file system, and fill the disk there: what is lost?

    python tests/attacks/kills.py [save_sae …]

replaces a thing of every kind that the package writes by another. Before its n-th call (whatever
Python reports to an audit hook: opening, listing, renaming, removing, making folders; and bringing
a file to the disk) the process ends at once; or, at calls that write, the system answers that the
disk is full; for every n. Or no file may grow beyond n × 3,000 bytes. Afterwards the old or the new
one must be there whole, and a later write must work.
"""

from __future__ import annotations

import errno
import json
import os
import resource
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import tiny
import torch
from test_widgets import heatmap

import sae_widgets as sw
from sae_widgets.share.clean import rewrite
from sae_widgets.steering.export import export
from sae_widgets.steering.presets import Presets
from sae_widgets.training import folder as run

CALLS = ("open", "os.", "shutil.")
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
KILLED = 9


@dataclass(frozen=True)
class Writer:
    """`write(path, which)` writes the old or the new one; `read(path)` says which is there."""

    write: Callable[[Path, str], Any]
    read: Callable[[Path], str]


def sae_of(which: str) -> sw.SAE:
    sae = tiny.make_sae()
    sae.title = which
    return sae


def preset(path: Path, which: str) -> None:
    presets = Presets(path)
    presets["kept"] = []
    presets["name"] = [sw.Add(1 if which == "old" else 2, 1.0, unit="raw")]


def kept_preset(path: Path) -> str:
    presets = Presets(path)
    assert "kept" in presets
    return {1: "old", 2: "new"}[presets["name"][0].feature]


def titled(page: str) -> str:
    assert page.endswith("</html>\n")
    return page.split("<title>")[1][:3]


def notebook(which: str) -> bytes:
    return json.dumps({"cells": [], "metadata": {"which": which}}).encode()


def rewritten(path: Path, which: str) -> None:
    if not path.exists():
        path.write_bytes(notebook(which))
    rewrite(path, notebook(which))


def exported(ending: str) -> Writer:
    model, sae = tiny.gpt2(tiny.byte_level()), tiny.make_sae()
    sizes = {}

    def write(path: Path, which: str) -> None:
        edits = [sw.Add(5, 2.0 if which == "old" else 3.0, unit="raw")]
        export(path / f"a{ending}", model, sae, edits)

    def read(path: Path) -> str:
        found = (path / f"a{ending}").read_bytes()
        if not sizes:
            for which in ("old", "new"):
                with tempfile.TemporaryDirectory() as folder:
                    write(Path(folder), which)
                    sizes[which] = (Path(folder) / f"a{ending}").read_bytes()
        return next(which for which, data in sizes.items() if data == found)

    return Writer(lambda path, which: (path.mkdir(exist_ok=True), write(path, which)), read)


def writers() -> dict[str, Writer]:
    pages = {which: heatmap(which) for which in ("old", "new")}
    return {
        "save_sae": Writer(
            lambda path, which: sw.save_sae(sae_of(which), path), lambda p: sw.load_sae(p).title
        ),
        "save_html": Writer(
            lambda path, which: sw.save_html(pages[which], path, title=which),
            lambda path: (
                path.read_text().split("<title>")[1][:3] * path.read_text().endswith("l>\n")
            ),
        ),
        "presets": Writer(preset, kept_preset),
        "clean": Writer(rewritten, lambda path: json.loads(path.read_text())["metadata"]["which"]),
        "run.json": Writer(
            lambda path, which: run.begin(path, {"recipes": [], "which": which}),
            lambda path: json.loads((path / run.RUN).read_text())["which"],
        ),
        "export .pt": exported(".pt"),
        "export .py": exported(".py"),
        "export .gguf": exported(".gguf"),
    }


def interrupted(act: Callable[[], Any], at: int, how: str) -> bool:
    """Whether `act`, in a process of its own, came to its `at`-th call, where it was ended."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        assert code in (0, KILLED), f"exit status {code} at call {at}"
        return code == KILLED
    calls = 0
    watching = True

    def call(name: str, arguments: tuple[Any, ...] = ()) -> None:
        nonlocal calls, watching
        if not watching or not name.startswith(CALLS):
            return
        if how == "full" and not writes(name, arguments):
            return
        calls += 1
        if calls == at:
            if how == "killed":
                os._exit(KILLED)
            watching = False  # what cleans up may do so
            raise FULL

    if how == "small":
        resource.setrlimit(resource.RLIMIT_FSIZE, ((at - 1) * 3000,) * 2)
    else:
        sys.addaudithook(call)
        fsync = os.fsync
        os.fsync = lambda handle: (call("os.fsync"), fsync(handle))[1]
    try:
        act()
    except OSError as error:
        watching = False
        os._exit(KILLED if error.errno in (errno.ENOSPC, errno.EFBIG) and error.filename else 3)
    except BaseException as error:
        watching = False
        print(repr(error)[:400], file=sys.stderr)
        os._exit(4)
    watching = False
    os._exit(KILLED if how != "small" and calls >= at else 0)  # some need no answer


def writes(name: str, arguments: tuple[Any, ...]) -> bool:
    """Whether a call can find the disk full."""
    if name == "open":
        return bool(arguments[2] & (os.O_WRONLY | os.O_RDWR))
    return name in ("os.mkdir", "os.rename", "os.fsync")


def attack(writer: Writer, how: str) -> dict[str, int]:
    found = {"calls": 0, "old": 0, "new": 0, "lost": 0}
    at = 1
    while True:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "thing.ipynb"
            writer.write(path, "old")
            more = interrupted(lambda path=path: writer.write(path, "new"), at, how)
            if not more:
                found["calls"] = at - 1
                return found
            try:
                found[writer.read(path)] += 1
                writer.write(path, "new")
                assert writer.read(path) == "new"
                if how != "killed":
                    assert not [*Path(folder).rglob("*.part"), *Path(folder).rglob("*.old")]
            except Exception as error:
                print(f"at call {at}: {error!r}"[:400], file=sys.stderr)
                found["lost"] += 1
        at += 1


def main(names: list[str]) -> None:
    torch.set_num_threads(1)
    found = {
        name: {how: attack(writer, how) for how in ("killed", "full", "small")}
        for name, writer in writers().items()
        if name in names or not names
    }
    lost = sum(each["lost"] for ways in found.values() for each in ways.values())
    calls = sum(each["calls"] for ways in found.values() for each in ways.values())
    print(json.dumps({"writers": found, "ended at": calls, "lost": lost}, indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
