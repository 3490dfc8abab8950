"""Texts that a command line can name: files, and datasets of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DICT = "dataset_dict.json"
KEPT = (DICT, "state.json")
"""What `save_to_disk` leaves in a folder, of several splits or of one."""


def open_texts(address: str, *, subset: str | None = None, split: str = "train") -> Iterable[Any]:
    """The texts at `address`, read anew each time they are iterated.

    A file that ends in .jsonl has a record or a string on each line. In any other file texts are
    parted by empty lines; if there are none, each line is one. A folder, or what is no path at
    all, is a dataset: one that was saved, files that `datasets` can read, or a name on the hub,
    streamed. subset and split: which part of it.
    """
    path = Path(address)
    if path.is_file():
        return Records(path) if path.suffix == ".jsonl" else Paragraphs(path)
    if any((path / name).is_file() for name in KEPT):
        return _saved(path, split)
    return _dataset(address, subset, split)


@dataclass(frozen=True)
class Records:
    """One value of JSON on each line."""

    path: Path

    def __iter__(self) -> Iterator[Any]:
        for number, line in enumerate(_lines(self.path), 1):
            if not line.isspace():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{self.path}, line {number} is no JSON: {error}") from error


@dataclass(frozen=True)
class Paragraphs:
    """Runs of lines with empty ones between them; where there are none, every line."""

    path: Path

    def __iter__(self) -> Iterator[str]:
        parted = self._is_parted()
        held: list[str] = []
        for line in _lines(self.path):
            if not line.isspace():
                held.append(line)
            if held and (line.isspace() or not parted):
                yield "".join(held).strip()
                held = []
        if held:
            yield "".join(held).strip()

    def _is_parted(self) -> bool:
        """Whether an empty line stands between two that are not."""
        begun = empty = False
        for line in _lines(self.path):
            if empty and not line.isspace():
                return True
            begun = begun or not line.isspace()
            empty = begun and line.isspace()
        return False


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from file
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}). Tables are read "
            "as a dataset: name the folder they are in"
        ) from error


def _saved(folder: Path, split: str) -> Iterable[Any]:
    from datasets import load_from_disk

    found: Any = load_from_disk(folder)
    splits = found if (folder / DICT).is_file() else {split: found}
    if split not in splits:
        raise ValueError(f"{folder} has no split {split!r}; it has {', '.join(splits)}")
    texts: Iterable[Any] = splits[split]
    return texts


def _dataset(address: str, subset: str | None, split: str) -> Iterable[Any]:
    from datasets import load_dataset

    is_folder = Path(address).is_dir()
    try:
        texts: Iterable[Any] = load_dataset(address, subset, split=split, streaming=not is_folder)
    except (OSError, ValueError) as error:
        what = "a folder of a dataset" if is_folder else "a file, a folder or a dataset's name"
        raise ValueError(f"{address} cannot be read as {what}: {error}") from error
    return texts
