"""Read the widgets that a shared file holds. It is data: nothing of it is run or unpickled."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from sae_widgets.share.clean import STATE, mended, read_notebook
from sae_widgets.share.recording import NAMES

VIEW = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Stored:
    """A widget as a file has it: its kind, and its traits."""

    kind: str
    traits: Mapping[str, Any]


def stored_widgets(path: str | Path) -> list[Stored]:
    """Our widgets that a notebook or a page shows, in the order in which it does.

    Raises a ValueError if there are none, or if the file is neither.
    """
    path = Path(path)
    readers = {".ipynb": _of_notebook, ".html": _of_page, ".htm": _of_page}
    if path.suffix.lower() not in readers:
        raise ValueError(
            f"{path.name!r} is neither a notebook (.ipynb) nor a page that save_html made (.html)"
        )
    data = path.read_bytes()
    try:
        return readers[path.suffix.lower()](data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name!r} is no UTF-8 text, at byte {error.start}") from error
    except ValueError as error:
        raise ValueError(f"nothing can be opened in {path.name!r}: {error}") from error


# Notebooks


def _of_notebook(text: str) -> list[Stored]:
    notebook = read_notebook(text)
    widgets, _ = mended(notebook["metadata"].get("widgets") or {})
    state = widgets[STATE]["state"]
    seen = list(dict.fromkeys(_seen(notebook["cells"])))
    if seen and not any(id in state for id in seen):
        raise ValueError(
            "it shows widgets, but their state was not saved with it. In JupyterLab, turn on "
            "“Save Widget State Automatically” in the Settings menu, run the notebook and save "
            "it; or run it with `jupyter nbconvert --execute --to notebook`"
        )
    traits = [traits_of(state.get(id)) for id in seen]
    found = [
        Stored(NAMES[id], each)
        for each in traits
        if (id := str(each.get("_anywidget_id"))) in NAMES
    ]
    if not found:
        raise ValueError("it shows no widget of sae_widgets")
    return found


def _seen(cells: list[Any]) -> Iterator[str]:
    """The ids of the models that the outputs of cells show, in their order."""
    for cell in cells:
        outputs = record(cell).get("outputs")
        for output in outputs if isinstance(outputs, list) else ():
            view = record(record(record(output).get("data")).get(VIEW))
            if isinstance(id := view.get("model_id"), str):
                yield id


def traits_of(model: Any) -> dict[str, Any]:
    """The traits of a model as a notebook stores it, those that are bytes and stored apart too."""
    model = record(model)
    found, apart = dict(record(model.get("state"))), model.get("buffers")
    for buffer in map(record, apart if isinstance(apart, list) else ()):
        match buffer.get("path"):
            case [str(name)]:
                found[name] = _bytes(buffer.get("data"))
    return found


def _bytes(text: Any) -> bytes:
    """Bytes in base64; none, where it is something else."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return b""


def record(value: Any) -> dict[str, Any]:
    """The value, if it is what it should be: whatever else stands there shows no widget."""
    return value if isinstance(value, dict) else {}


# Pages


def _of_page(text: str) -> list[Stored]:
    page = _Page()
    page.feed(text)
    page.close()
    for data in reversed(page.data):  # ours is at the end of the page
        try:
            recording = json.loads(data)
            values = recording["values"]
            widgets = [
                Stored(
                    each["name"],
                    {
                        name: _bytes(values[i]) if name in each["bytes"] else values[i]
                        for name, i in each["traits"].items()
                    },
                )
                for each in recording["widgets"]
            ]
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
            continue  # other data than ours
        shown = [widgets[i] for i in dict.fromkeys(page.views) if i < len(widgets)]
        found = [each for each in shown if each.kind in NAMES.values()]
        if found:
            return found
    raise ValueError("it shows no widget of sae_widgets")


class _Page(HTMLParser):
    """Gathers the data elements of a page, and the numbers of the widgets that it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.data: list[str] = []
        self.views: list[int] = []
        self._reading = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        self._reading = tag == "script" and told.get("type") == "application/json"
        if self._reading:
            self.data.append("")
        number = told.get("data-sae-view") or ""
        if number.isascii() and number.isdigit() and len(number) < 6:
            self.views.append(int(number))

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._reading = False

    def handle_data(self, data: str) -> None:
        if self._reading:
            self.data[-1] += data
