"""Widgets as one HTML file that needs neither a kernel nor a network."""

from __future__ import annotations

import html
from collections.abc import Iterable
from pathlib import Path

from sae_widgets.files import put
from sae_widgets.share.picture import Picture
from sae_widgets.share.recording import Recorded, image, policy, scripts, style, view
from sae_widgets.share.sheet import printable
from sae_widgets.widgets.panel import Frame

STYLE = """
:root { color-scheme: light dark; }
body { margin: 16px; background: Canvas; color: CanvasText; }
.jupyter-widgets-disconnected { max-width: 1080px; margin: 0 auto 16px; }
img { max-width: 100%; height: auto; }
"""


def save_html(
    widgets: Frame | Iterable[object], path: str | Path, *, title: str = "sae_widgets"
) -> Path:
    """Write widgets as they are now to one HTML file, and return its path.

    The file shows them at once wherever it is opened, with no kernel, and asks the network for
    nothing. What needs no model goes on working: sorting, pointing, selecting, going through the
    history and the sweep.
    """
    panels = [_panel(each) for each in ([widgets] if isinstance(widgets, Frame) else widgets)]
    recorded: list[Recorded] = []
    views = []
    for panel in panels:
        made = Recorded.of(panel.get_state())
        # A class of somebody's own is not in the page's script: there is its picture.
        views.append(view(len(recorded), _image(panel)) if made else _image(panel))
        recorded += [made] if made else []
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"{policy([STYLE, style()])}"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(printable(title))}</title><style>{STYLE}</style><style>{style()}</style></head>\n"
        f"<body><main>\n{chr(10).join(views)}\n</main>{scripts(recorded)}</body></html>\n"
    )
    target = Path(path)
    put(target, page.encode())
    return target


def _panel(widget: object) -> Frame:
    if isinstance(widget, Frame):
        return widget
    raise TypeError(
        "save_html saves widgets, as `session.heatmap`, `session.steer` and `sw.training` make "
        f"them; got a {type(widget).__name__}"
    )


def _image(panel: Frame) -> str:
    picture = Picture.of(panel)
    return image(picture.png, picture.words, picture.width, picture.height)
