"""`jupyter nbconvert --to sae_html`: a notebook as one page on which our widgets go on living."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bs4 import BeautifulSoup, Doctype
from bs4.element import PreformattedString
from nbconvert.exporters import HTMLExporter
from nbformat import NotebookNode

from sae_widgets.share.clean import STATE, mended
from sae_widgets.share.kept import without_view
from sae_widgets.share.recording import (
    MARK,
    Recorded,
    image,
    policy,
    scripts,
    style,
    unpacked,
    view,
)
from sae_widgets.share.stored import VIEW, part, record, shown_in, twin_of


class SaeHTMLExporter(HTMLExporter):
    """HTML without a network, in which the widgets of sae_widgets are interactive.

    Only the script of this package runs on the page. Other outputs that need scripts are shown by
    what else they have: a picture, or text.
    """

    export_from_notebook = "HTML with SAE widgets"

    def from_notebook_node(  # type: ignore[override] # as nbconvert's own
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **options: Any
    ) -> tuple[str, dict[str, Any]]:
        page, resources = super().from_notebook_node(nb, resources, **options)
        return sealed(page, resources.pop(MARK)), resources

    def _preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        # Last of all: other preprocessors may be what runs the notebook.
        nb, resources = super()._preprocess(nb, resources)  # type: ignore[no-untyped-call]
        resources[MARK] = place_views(nb)
        return nb, resources


def place_views(nb: NotebookNode) -> list[Recorded]:
    """Put a view of each of our widgets where it was displayed, in place of its twin.

    Returns the widgets in the order of their views' numbers. Where of a widget nothing was
    saved but what its twin shows, that stays.
    """
    widgets, _ = mended(nb.metadata.pop("widgets", None))
    ours = shown_in(nb.cells, widgets[STATE]["state"])
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
        model = record(record(output.get("data")).pop(VIEW, None)).get("model_id")
        if isinstance(model, str) and model in numbers:
            twin = twin_of(rest)
            del rest[: len(twin)]
            image = "".join(_image(each) for each in twin if part(each) == "picture")
            output.data = {"text/html": view(numbers[model], image)}
        yield output


def _image(output: Mapping[str, Any]) -> str:
    """The picture of a twin; nothing, if it was taken out, or is not as we left it."""
    told = record(record(output.get("metadata")).get("image/png"))
    try:
        # What it keeps of the widget is in the page's data.
        png = without_view(unpacked(output["data"]["image/png"].replace("\n", "")))
        return image(png, told["alt"], told["width"], told["height"])
    except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
        return ""


def sealed(page: str, recorded: list[Recorded]) -> str:
    """A page as nbconvert makes it, with our widgets in it and nothing that asks for more.

    A policy keeps scripts from running, but no page from leading elsewhere by a `meta` element. It
    is parsed, and written anew, so that what a browser reads as elements is what was looked at:
    of what browsers may read otherwise (comments, styles in the midst of a page) nothing stays.
    """
    soup = BeautifulSoup(page, "html.parser")
    if soup.head is None or soup.body is None:
        raise ValueError(
            "this template of nbconvert makes a part of a page, which can have no policy that "
            "keeps it from the network; use one that makes a whole page, such as 'lab' or 'classic'"
        )
    for text in soup.find_all(string=lambda text: isinstance(text, PreformattedString)):
        if not (isinstance(text, Doctype) and text.parent is soup):
            text.extract()
    for element in soup(["script", "link", "base"]):
        element.decompose()
    for element in soup("meta", attrs={"http-equiv": True}):
        element.decompose()
    for element in soup("style"):
        if "<" in element.get_text() and soup.head not in element.parents:
            element.decompose()
    # Scripts are allowed by hash, styles are not: those of nbconvert are in the tags themselves.
    head = f'<head><meta charset="utf-8">{policy(None)}<style>{style()}</style>'
    return str(soup).replace("<head>", head, 1) + scripts(recorded)
