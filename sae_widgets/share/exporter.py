"""`jupyter nbconvert --to sae_html`: a notebook as one page on which our widgets go on living."""

from __future__ import annotations

import base64
import copy
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Any

from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

from sae_widgets.share.recording import MARK, Recorded, image, policy, scripts, style, view

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"

ASKS = re.compile(
    r"<script\b.*?</script\s*>|<(?:link|base)\b[^>]*>|<meta\b[^>]*\bhttp-equiv\b[^>]*>",
    re.IGNORECASE | re.DOTALL,
)
"""What a page could run, or ask of the network or of the browser, before its policy is heard."""


class SaeHTMLExporter(HTMLExporter):
    """HTML without a network, in which the widgets of sae_widgets are interactive.

    Only the script of this package runs on the page. Other outputs that need scripts are shown by
    what else they have: a picture, or text.
    """

    export_from_notebook = "HTML with SAE widgets"

    def from_notebook_node(  # type: ignore[override] # as nbconvert's own
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[str, dict[str, Any]]:
        nb = copy.deepcopy(nb)
        recorded = place_views(nb)
        page, resources = super().from_notebook_node(nb, resources, **options)
        return sealed(page, recorded), resources


def place_views(nb: NotebookNode) -> list[Recorded]:
    """Put a view of each of our widgets where it was displayed, in place of its twin.

    Returns the widgets in the order of their views' numbers. Where a widget's state was not saved,
    its twin stays.
    """
    states = nb.metadata.pop("widgets", {}).get(STATE, {}).get("state", {})
    ours = {id: made for id in states if (made := Recorded.of(_state(states[id])))}
    numbers = {id: number for number, id in enumerate(ours)}
    for cell in nb.cells:
        if "outputs" in cell:
            cell.outputs = list(_replaced(cell.outputs, numbers))
    return list(ours.values())


def _replaced(
    outputs: Sequence[NotebookNode], numbers: Mapping[str, int]
) -> Iterator[NotebookNode]:
    """The outputs of a cell, with a view for each model that has a number."""
    rest = list(outputs)
    while rest:
        output = rest.pop(0)
        model = output.get("data", {}).pop(VIEW, {}).get("model_id")
        if model in numbers:
            twin = list(takewhile(_part, rest))
            del rest[: len(twin)]
            image = "".join(_image(each) for each in twin if _part(each) == "picture")
            output.data = {"text/html": view(numbers[model], image)}
        yield output


def _part(output: Mapping[str, Any]) -> str | None:
    """Which part of a twin an output is."""
    part: str | None = output.get("metadata", {}).get(MARK)
    return part


def _state(model: Mapping[str, Any]) -> dict[str, Any]:
    """The traits of a model as a notebook stores it, bytes apart from the others."""
    stored = {
        path[0]: base64.b64decode(buffer["data"])
        for buffer in model.get("buffers", ())
        if len(path := buffer["path"]) == 1
    }
    return {**model["state"], **stored}


def _image(output: Mapping[str, Any]) -> str:
    """The picture of a twin."""
    told = output["metadata"]["image/png"]
    return image(output["data"]["image/png"], told["alt"], told["width"], told["height"])


def sealed(page: str, recorded: list[Recorded]) -> str:
    """A page as nbconvert makes it, with our widgets in it and nothing that asks for more.

    nbconvert has parsed the page and written it anew, so that no ">" is left inside of a tag.
    """
    page = ASKS.sub("", page)
    # Scripts are allowed by hash, styles are not: those of nbconvert are in the tags themselves.
    head = f'<head><meta charset="utf-8">{policy(None)}<style>{style()}</style>'
    page = page.replace("<head>", head, 1)
    body, _, rest = page.rpartition("</body>")
    return f"{body}{scripts(recorded)}</body>{rest}"
