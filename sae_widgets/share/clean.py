"""Mend the widget state that notebooks store: GitHub shows them again, and what none shows goes.

Any library's widgets. Only the text of `metadata.widgets` is written anew; every other byte of a
notebook stays what it is.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_widgets.files import put

STATE = "application/vnd.jupyter.widget-state+json"
VERSION = {"version_major": 2, "version_minor": 0}

BY_NUMBER = ("k3d",)
"""Libraries whose plots name what they draw by numbers of their own, and not as models."""


@dataclass(frozen=True)
class Cleaned:
    """A notebook as it should be, and in words what that changes; nothing: the data as it was."""

    data: bytes
    done: tuple[str, ...]


def cleaned(data: bytes) -> Cleaned:
    """A notebook, given as the bytes of its file, with mended widget state.

    Raises a ValueError for what is no notebook.
    """
    text = _text(data)
    notebook = read_notebook(text)
    widgets = notebook["metadata"].get("widgets")
    if widgets is None:
        return Cleaned(data, ())
    widgets, done = mended(widgets)
    state = widgets[STATE]["state"]
    kept = _kept(state, notebook["cells"])
    if len(kept) < len(state):
        done.append(f"dropped {len(state) - len(kept)} of {len(state)} models that nothing shows")
        widgets[STATE] |= {"state": {id: state[id] for id in state if id in kept}}
    if not done:
        return Cleaned(data, ())
    start, end = _place(text, "metadata", "widgets")
    new = text[:start] + _written(widgets, text, start, end) + text[end:]
    return Cleaned(new.encode(), tuple(done))


def rewrite(path: Path, data: bytes) -> None:
    """Put `data` in the file's place, in such a way that there is never half of it."""
    path = path.resolve()  # a link stays one
    mode = path.stat().st_mode
    # Root may write everything, and a renamed file asks only whether its folder may be written.
    if not (mode & 0o222 and os.access(path, os.W_OK)):
        raise PermissionError(errno.EACCES, "the file is write-protected")
    put(path, data)


# Reading


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not a notebook: no UTF-8 text, at byte {error.start}") from error


def read_notebook(text: str) -> dict[str, Any]:
    """A notebook as plain values; a ValueError says what else it is."""
    try:
        notebook = json.loads(text)
    except ValueError as error:
        raise ValueError(f"it is not a notebook: no JSON, {error}") from error
    except RecursionError:
        raise ValueError("it is not a notebook: JSON that is nested without end") from None
    if (
        not isinstance(notebook, dict)
        or not isinstance(notebook.get("cells"), list)
        or not isinstance(notebook.get("metadata"), dict)
    ):
        raise ValueError("it is not a notebook of format 4: it has no cells or no metadata")
    return notebook


# Mending


def mended(widgets: Any) -> tuple[dict[str, Any], list[str]]:
    """`metadata.widgets` with a `state` in all its entries, and in words what was done.

    Without one, nbconvert fails on the whole notebook, and so does GitHub, which uses it.
    """
    done = []
    if not isinstance(widgets, dict):
        done.append("replaced widget metadata that held nothing")
        widgets = {}
    found = {}
    for name, entry in widgets.items():
        if isinstance(entry, dict) and (name == STATE or "state" in entry):
            found[name] = entry
        else:
            done.append(f"removed {name[:60]!r}, which is no widget state")
    if STATE not in found:
        done.append("added the missing widget state")
        found[STATE] = {"state": {}, **VERSION}
    entry = found[STATE]
    if "state" not in entry:  # Colab
        models = {id: model for id, model in entry.items() if isinstance(model, dict)}
        rest = {name: value for name, value in entry.items() if name not in models}
        done.append(f"put {len(models)} models under the missing 'state'")
        found[STATE] = {"state": models, **VERSION, **rest}
    elif not isinstance(entry["state"], dict):
        done.append("replaced a 'state' that held no models")
        found[STATE] = {**entry, "state": {}}
    return found, done


def _kept(state: Mapping[str, Any], cells: Any) -> set[str]:
    """The models that the cells name, those that these name, and what acts on them."""
    ids = state.keys()
    named = {id: _named(model, ids) for id, model in state.items()}
    kept, more = set[str](), _named(cells, ids)
    while more:
        kept |= more
        libraries = {_library(state[id]) for id in kept}.intersection(BY_NUMBER)
        more = {
            id
            for id in ids
            # A link joins what others show and is itself shown nowhere.
            if (_traits(state[id]).get("_view_name") is None and named[id] & kept)
            or _library(state[id]) in libraries
        }
        more = more.union(*(named[id] for id in kept)) - kept
    return kept


def _named(value: Any, ids: Set[str]) -> set[str]:
    """The models that a value refers to, wherever in it."""
    names = (text.removeprefix("IPY_MODEL_").removeprefix("anywidget:") for text in _texts(value))
    return {name for name in names if name in ids}


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, the names of members among them."""
    waiting = [value]
    while waiting:
        match waiting.pop():
            case str(text):
                yield text
            case list(values):
                waiting += values
            case dict(members):
                yield from members
                waiting += members.values()


def _library(model: Any) -> str:
    module = model.get("model_module") if isinstance(model, dict) else None
    if module == "anywidget":
        module = str(_traits(model).get("_anywidget_id")).split(".")[0]
    return str(module)


def _traits(model: Any) -> Mapping[str, Any]:
    traits = model.get("state") if isinstance(model, dict) else None
    return traits if isinstance(traits, dict) else {}


# Writing

_SPACE = re.compile(r"[ \t\n\r]*")


def _place(text: str, *path: str) -> tuple[int, int]:
    """Where the value at `path` of a JSON text begins and ends."""
    decoder = json.JSONDecoder()

    def after_space(place: int) -> int:
        return _SPACE.match(text, place).end()  # type: ignore[union-attr] # it matches nothing too

    start, end = after_space(0), len(text)
    for name in path:
        place = after_space(start + 1)
        while text[place] != "}":
            key, place = decoder.raw_decode(text, place)
            begin = after_space(after_space(place) + 1)
            _, place = decoder.raw_decode(text, begin)
            if key == name:  # of two members of one name, the last one counts
                start, end = begin, place
            place = after_space(place)
            if text[place] == ",":
                place = after_space(place + 1)
    return start, end


def _written(widgets: Any, text: str, start: int, end: int) -> str:
    """`widgets` as JSON, written as the text around it is."""
    old, line = text[start:end], text[text.rfind("\n", 0, start) + 1 : start]
    margin = line[: len(line) - len(line.lstrip())]
    space = " " if line.endswith(" ") else ""
    lines = line.lstrip().startswith('"widgets"')
    new = json.dumps(
        widgets,
        # Half a character, which JSON can spell and UTF-8 cannot, has to stay spelled.
        ensure_ascii=old.isascii() or r"\ud" in old.lower(),
        indent=margin[: len(margin) // 2] if lines else None,
        separators=("," if lines else "," + space, ":" + space),
    )
    return new.replace("\n", ("\r\n" if "\r\n" in text else "\n") + margin)
