"""A picture of a widget as it is now, and what it shows in words."""

from __future__ import annotations

from dataclasses import dataclass

from sae_widgets.share import heatmap, steering, training
from sae_widgets.share.sheet import printable
from sae_widgets.widgets import Heatmap, Steering, Training
from sae_widgets.widgets.panel import Frame

DRAWN = {Heatmap: heatmap, Steering: steering, Training: training}


@dataclass(frozen=True)
class Picture:
    """A PNG, the size it is to be shown at, and what it shows in words."""

    png: bytes
    width: int
    height: int
    words: str

    @classmethod
    def of(cls, panel: Frame) -> Picture:
        """The picture of a widget; nothing is computed, it is drawn from the widget's traits."""
        # ipywidgets gives every widget a class of its own.
        drawn = next(module for kind, module in DRAWN.items() if isinstance(panel, kind))
        state = {name: getattr(panel, name) for name in panel.keys if not name.startswith("_")}
        png, height = drawn.picture(state)
        # What a label or a text holds may be no text: half a character, or one that moves a cursor.
        return cls(png, drawn.WIDTH, round(height), printable(drawn.words(state)))
