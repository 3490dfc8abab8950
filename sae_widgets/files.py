"""Write files and folders whole or not at all, whatever ends the program or fills the disk.

What is new is written beside what is there, brought to the disk, and put in its place by one
rename. All that the package writes goes through here.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

ABANDONED = 3600.0
"""Seconds after which what was begun beside a file or folder belongs to no program that still runs:
no write takes so long."""


def put(path: Path, data: bytes) -> None:
    """Write a file whole or not at all.

    Raises an OSError that names the file, as when the disk is full; what was there stays.
    """
    with whole(path) as part:
        part.write_bytes(data)


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write a file to, which becomes `path` when the block has ended well.

    Raises an OSError that names `path`; what was there stays.
    """
    path = path.resolve()  # a link stays one
    with named(path):
        _sweep(path)
        part = _beside(path)
    try:
        with named(path):
            part.touch(exist_ok=False)
            yield part
            _to_disk(part)
            if path.exists():
                shutil.copymode(path, part)
            os.replace(part, path)
            _to_disk(path.parent)
    finally:
        part.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """An empty folder to write to, which takes the place of `folder` when the block has ended well.

    No system replaces a folder that holds something in one step. Between the two that it takes,
    the old one stands beside under a name of its own, where `recover` finds it.
    Raises an OSError that names `folder`; what was there stays.
    """
    folder = folder.resolve()
    with named(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        recover(folder)
        _sweep(folder)
        new = _beside(folder)
    try:
        with named(folder):
            new.mkdir()
            yield new
            for path in (*new.rglob("*"), new):
                _to_disk(path)
            old = _old(folder)
            if folder.exists():
                folder.rename(old)
            try:
                new.rename(folder)
            except OSError:
                recover(folder)
                raise
            _to_disk(folder.parent)
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def recover(folder: Path) -> None:
    """Put a folder back that a program was replacing when it was killed."""
    folder = folder.resolve()
    old = _old(folder)
    if not old.is_dir():
        return
    if folder.exists():  # what replaces it came there, and it is no longer wanted
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.rename(folder)


def _beside(path: Path) -> Path:
    """A name that nobody else has, also where many write at once."""
    return path.with_name(f".{path.name}-{uuid.uuid4().hex}.part")


def _old(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.old"  # a root has no name


def _sweep(path: Path) -> None:
    """Take away what programs that were killed have left beside `path`."""
    ours = re.compile(rf"\.{re.escape(path.name)}-[0-9a-f]{{32}}\.part")
    for each in path.parent.iterdir():
        with contextlib.suppress(OSError):  # another may be sweeping, too
            if ours.fullmatch(each.name) and time.time() - each.stat().st_mtime > ABANDONED:
                shutil.rmtree(each) if each.is_dir() else each.unlink()


def _to_disk(path: Path) -> None:
    """Return when what was written is on the disk, and not only on its way there."""
    if os.name == "nt" and path.is_dir():  # where a folder cannot be opened
        return
    handle = os.open(path, os.O_RDWR if path.is_file() else os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def named(path: Path) -> Iterator[None]:
    """Say which file it was that could not be written, and by an OSError in any case."""
    try:
        yield
    except SafetensorError as error:  # which says the number in its words alone
        number = re.search(r"os error (\d+)", str(error))
        code = int(number[1]) if number else errno.EIO
        raise OSError(code, f"{os.strerror(code)} ({error})", str(path)) from error
    except OSError as error:
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error
