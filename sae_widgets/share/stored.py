"""Read the widgets that a shared file holds. It is data: nothing of it is run or unpickled."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import takewhile
from pathlib import Path
from typing import Any

from sae_widgets.share.clean import STATE, mended, read_notebook
from sae_widgets.share.kept import view_in
from sae_widgets.share.recording import MARK, NAMES, Recorded, decoded, unpacked

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
    cells = notebook["cells"]
    found = shown_in(cells, widgets[STATE]["state"])
    if not found and any(True for _ in _seen(cells)):
        raise ValueError(
            "it shows no widget of sae_widgets of which anything was saved: neither its state, nor "
            "its picture below it. Run the cell again and save the notebook"
        )
    if not found:
        raise ValueError("it shows no widget of sae_widgets")
    return [Stored(each.name, each.traits) for each in found.values()]


def shown_in(cells: Iterable[Any], states: Mapping[str, Any]) -> dict[str, Recorded]:
    """Our widgets that the outputs of cells show, by the ids of their models, in their order.

    A widget is what its state says. Jupyter saves states only where somebody has asked it to, and
    may leave those of an earlier run: where there is none, it is what its picture keeps.
    """
    found: dict[str, Recorded] = {}
    for id, after in _seen(cells):
        widget = Recorded.of(traits_of(states[id])) if id in states else _kept(after)
        if widget is not None:
            found.setdefault(id, widget)
    return found


def _seen(cells: Iterable[Any]) -> Iterator[tuple[str, list[Any]]]:
    """The ids of the models that the outputs of cells show, each with the outputs after it."""
    for cell in cells:
        outputs = record(cell).get("outputs")
        outputs = outputs if isinstance(outputs, list) else []
        for place, output in enumerate(outputs, start=1):
            view = record(record(record(output).get("data")).get(VIEW))
            if isinstance(id := view.get("model_id"), str):
                yield id, outputs[place:]


def twin_of(after: Iterable[Any]) -> list[Any]:
    """Of the outputs after a view, those of its twin."""
    return list(takewhile(part, after))


def part(output: Any) -> Any:
    """Which part of a twin an output is, if any."""
    return record(record(output).get("metadata")).get(MARK)


def _kept(after: Iterable[Any]) -> Recorded | None:
    """The widget that the picture of a twin keeps."""
    for output in twin_of(after):
        png = record(output.get("data")).get("image/png")
        if widget := view_in(unpacked(png.replace("\n", "")) if isinstance(png, str) else b""):
            return widget
    return None


def traits_of(model: Any) -> dict[str, Any]:
    """The traits of a model as a notebook stores it, those that are bytes and stored apart too."""
    model = record(model)
    found, apart = dict(record(model.get("state"))), model.get("buffers")
    for buffer in map(record, apart if isinstance(apart, list) else ()):
        match buffer.get("path"):
            case [str(name)]:
                found[name] = unpacked(buffer.get("data"))
    return found


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
            widgets = [Stored(each.name, each.traits) for each in decoded(json.loads(data))]
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
