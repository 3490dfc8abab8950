"""What a page without a kernel holds of its widgets: what they showed, as data, and one script.

Nothing that a widget or a notebook carries is run: the script and the styles are the package's
own. This imports neither torch nor Pillow: nbconvert loads it wherever it lists its exporters.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATIC = Path(__file__).parent.parent / "static"

NAMES = {
    "sae_widgets.widgets.heatmap.Heatmap": "heatmap",
    "sae_widgets.widgets.steering.Steering": "steering",
    "sae_widgets.widgets.training.Training": "training",
}
"""What the page's script calls the widgets that anywidget knows under these ids."""

MARK = "sae_widgets"
"""In the metadata of an output: which part of a widget's twin it is, "words" or "picture"."""

OF_JUPYTER = ("layout", "tabbable", "tooltip")
"""Traits that every widget has and none of ours shows."""


@dataclass(frozen=True)
class Recorded:
    """A widget as it was: its name in the script, and its traits, bytes among them."""

    name: str
    traits: Mapping[str, Any]

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Recorded | None:
        """A widget from its state as Jupyter has it; None if it is not one of ours."""
        name = NAMES.get(str(state.get("_anywidget_id")))
        if name is None:
            return None
        shown = {
            trait: value
            for trait, value in state.items()
            if not trait.startswith("_") and trait not in OF_JUPYTER
        }
        return cls(name, shown)


def data(widgets: Iterable[Recorded]) -> str:
    """Widgets as the page's script reads them: see `Recording` in `js/src/page.ts`.

    A value that several widgets have, as the features of a session are, is there once.
    """
    places: dict[str, int] = {}

    def place(value: Any) -> int:
        plain = base64.b64encode(value).decode() if isinstance(value, bytes) else value
        return places.setdefault(json.dumps(plain, separators=(",", ":")), len(places))

    told = [
        {
            "name": widget.name,
            "traits": {trait: place(value) for trait, value in widget.traits.items()},
            "bytes": [trait for trait, value in widget.traits.items() if isinstance(value, bytes)],
        }
        for widget in widgets
    ]
    text = f'{{"values":[{",".join(places)}],"widgets":{json.dumps(told, separators=(",", ":"))}}}'
    # Only a "<" could end the element that the data stands in; in JSON, it stands in texts alone.
    return text.replace("<", "\\u003c")


def decoded(recording: Any) -> list[Recorded]:
    """The widgets in what `data` has written, or in whatever else was found in its place.

    Raises a ValueError, TypeError, LookupError or AttributeError where it makes no sense.
    """
    values = recording["values"]
    return [
        Recorded(
            each["name"],
            {
                name: unpacked(values[i]) if name in each["bytes"] else values[i]
                for name, i in each["traits"].items()
            },
        )
        for each in recording["widgets"]
    ]


def unpacked(text: Any) -> bytes:
    """Bytes in base64; none, where it is something else."""
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        return b""


def view(number: int, image: str) -> str:
    """Where a page shows the widget of this number: a picture of it, until the script is there.

    The class is what ipywidgets gives to a view without a kernel.
    """
    return f'<div class="jupyter-widgets-disconnected" data-sae-view="{number}">{image}</div>'


def image(png: bytes, words: str, width: int, height: int) -> str:
    """A picture, with what it shows in words."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return (
        f'<img src="{source}" alt="{html.escape(words)}" '
        f'width="{int(width)}" height="{int(height)}">'
    )


def scripts(widgets: Iterable[Recorded]) -> str:
    """The end of a page's body: its widgets, and the script that shows them."""
    return f'<script type="application/json">{data(widgets)}</script><script>{script()}</script>'


def script() -> str:
    return (STATIC / "page.js").read_text(encoding="utf-8")


def style() -> str:
    return (STATIC / "page.css").read_text(encoding="utf-8")


def policy(styles: Sequence[str] | None) -> str:
    """The element that keeps a page from asking for anything, and from running any other script.

    Of styles, it allows those given; None: all.
    """
    allowed = "'unsafe-inline'" if styles is None else " ".join(map(_hash, styles))
    rules = (
        "default-src 'none'",
        f"script-src {_hash(script())}",
        f"style-src {allowed}",
        "img-src data:",
        "font-src data:",
        "media-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return f'<meta http-equiv="Content-Security-Policy" content="{"; ".join(rules)}">'


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
