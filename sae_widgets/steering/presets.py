"""Named lists of edits, kept in a JSON file beside the notebook."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sae_widgets.files import named, put
from sae_widgets.steering.edits import AnyEdit, edit_from_json

FILE = "steering-presets.json"
FORMAT = "sae_widgets presets 1"
PATIENCE = 10.0
"""Seconds that a change waits for those of other programs: one takes milliseconds."""


class Presets(MutableMapping[str, tuple[AnyEdit, ...]]):
    """A dictionary from names to edits that lives in the file `path`.

    The file is read at every use, so that notebooks side by side see each other's presets, and is
    replaced as a whole, so that it is never half-written. Who changes it holds a lock beside it
    from reading to writing, so that of two that write at once both are kept. Whatever else it
    holds is an error and is left alone. `changed` is called after each change.
    """

    def __init__(self, path: str | Path = FILE, changed: Callable[[], None] = lambda: None) -> None:
        # The folder of now: a notebook that changes its folder later keeps its presets.
        self.path = Path(path).absolute()
        self._changed = changed

    def __getitem__(self, name: str) -> tuple[AnyEdit, ...]:
        return self._read()[name]

    def __setitem__(self, name: str, edits: Sequence[AnyEdit]) -> None:
        if not name.strip():
            raise ValueError("a preset needs a name; got an empty one")
        with self._changing() as known:
            known[name.strip()] = tuple(edits)

    def __delitem__(self, name: str) -> None:
        with self._changing() as known:
            del known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())

    def __repr__(self) -> str:
        return f"Presets({self.path.name!r}: {', '.join(map(repr, self)) or 'none'})"

    def _read(self) -> dict[str, tuple[AnyEdit, ...]]:
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        try:
            record = json.loads(text)
            if record["format"] != FORMAT:
                raise ValueError(f"its format is {record['format']!r}")
            return {
                str(name): tuple(map(edit_from_json, edits))
                for name, edits in record["presets"].items()
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{self.path} does not hold presets ({error}). Mend it, or move it away and begin "
                "anew."
            ) from error

    @contextmanager
    def _changing(self) -> Iterator[dict[str, tuple[AnyEdit, ...]]]:
        """What is known, to be changed: it is written when the block ends."""
        try:
            lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=PATIENCE)
            with named(self.path), lock:
                known = self._read()
                yield known
                self._write(known)
        except Timeout as error:
            raise TimeoutError(
                f"{self.path} is being changed by another program, which did not end in "
                f"{PATIENCE:.0f} seconds; nothing was changed. Try again"
            ) from error
        self._changed()

    def _write(self, known: dict[str, tuple[AnyEdit, ...]]) -> None:
        record: dict[str, Any] = {
            "format": FORMAT,
            "presets": {name: [edit.to_json() for edit in edits] for name, edits in known.items()},
        }
        text = json.dumps(record, ensure_ascii=False, indent=1, allow_nan=False)
        put(self.path, (text + "\n").encode())
