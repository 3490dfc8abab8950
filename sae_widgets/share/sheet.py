"""A sheet of paper for pictures of widgets: boxes, lines and text in, a small PNG out.

Lengths are in the browser's pixels. The font is the DejaVu that comes with matplotlib, so that a
picture is the same on every machine: the one inside Pillow has neither “é” nor “×”.
"""

from __future__ import annotations

import io
import math
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Literal, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from sae_widgets.share.color import LINE, PAGE, PAINTS, Color

SCALE = 2
"""Pixels of the file for one of the browser's: as sharp as the widget on a good screen."""

Point = tuple[float, float]


class Font(NamedTuple):
    """A face of DejaVu, and its size."""

    face: Literal["Sans", "Sans-Bold", "SansMono", "SansMono-Bold"]
    size: float

    def length(self, text: str) -> float:
        """How long `text` is in this font."""
        return _length(self, text)

    def cut(self, text: str, room: float) -> str:
        """`text`, cut to `room`."""
        if self.length(text) <= room:
            return text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high + 1) // 2
            if self.length(text[:middle].rstrip() + "…") <= room:
                low = middle
            else:
                high = middle - 1
        return text[:low].rstrip() + "…"


PROSE, TEXT, SMALL = Font("Sans", 13), Font("Sans", 14), Font("Sans", 11)
TITLE = Font("Sans-Bold", 13)
MONO, MONO_SMALL, MONO_TINY = Font("SansMono", 13), Font("SansMono", 11), Font("SansMono", 10)
TOKEN, TOKEN_LIT = Font("SansMono", 12), Font("SansMono-Bold", 12)


@cache
def _face(font: Font) -> ImageFont.FreeTypeFont:
    # Not imported: that takes longer than all of a picture.
    found = find_spec("matplotlib")
    assert found is not None and found.origin is not None  # it is a dependency
    path = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / f"DejaVu{font.face}.ttf"
    return ImageFont.truetype(path, font.size * SCALE, layout_engine=ImageFont.Layout.BASIC)


@lru_cache(maxsize=8192)
def _length(font: Font, text: str) -> float:
    return _face(font).getlength(text) / SCALE


def printable(text: str) -> str:
    """`text` on one line, each character of which can be drawn."""
    return "".join(
        "↵" if letter == "\n" else "�" if unicodedata.category(letter)[0] == "C" else letter
        for letter in text
    )


class Sheet:
    """A white sheet, `width` wide, that becomes as high as it needs to be."""

    def __init__(self, width: float) -> None:
        self.width = width
        self._acts: list[Callable[[Image.Image, ImageDraw.ImageDraw], None]] = []

    def box(
        self,
        left: float,
        top: float,
        width: float,
        height: float,
        color: Color | None,
        *,
        radius: float = 0,
        outline: Color | None = None,
        border: float = 1,
    ) -> None:
        """A filled box; of an outlined one, the `border` is inside."""
        (x, y), (right, bottom) = _pixels(left, top), _pixels(left + width, top + height)
        if right <= x or bottom <= y:
            return
        corners = x, y, right - 1, bottom - 1  # Pillow's are inclusive
        line = round(border * SCALE) if outline else 0
        self._acts.append(
            lambda _, pen: pen.rounded_rectangle(corners, radius * SCALE, color, outline, line)
        )

    def rule(self, top: float) -> None:
        """A hairline from side to side."""
        self.box(0, top, self.width, 1, LINE)

    def frame(self, height: float) -> None:
        """The widgets' own frame, around a sheet of this height."""
        self.box(0, 0, self.width, height, None, radius=10, outline=LINE)

    def disc(self, x: float, y: float, radius: float, color: Color, rim: Color) -> None:
        """A disc with a rim."""
        left, top, wide = x - radius, y - radius, 2 * radius
        self.box(left, top, wide, wide, color, radius=radius, outline=rim, border=2)

    def line(
        self, points: Sequence[Point], color: Color, width: float = 1, *, dashed: bool = False
    ) -> None:
        """A line through `points`."""
        pieces = list(_dashes(points)) if dashed else [points]
        scaled = [[_pixels(*point) for point in piece] for piece in pieces]

        def act(_image: Image.Image, pen: ImageDraw.ImageDraw) -> None:
            for piece in scaled:
                pen.line(piece, color, round(width * SCALE))

        self._acts.append(act)

    def wedge(self, x: float, top: float, half: float, color: Color) -> None:
        """A small triangle that points down at `x`."""
        corners = [_pixels(x - half, top), _pixels(x + half, top), _pixels(x, top + half + 1)]
        self._acts.append(lambda _, pen: pen.polygon(corners, color))

    def text(
        self, x: float, y: float, text: str, font: Font, color: Color, anchor: str = "lm"
    ) -> None:
        """A line of text; `anchor` as in Pillow: left, middle or right, and "m" for its middle."""
        at = _pixels(x, y)
        self._acts.append(lambda _, pen: pen.text(at, text, color, _face(font), anchor))

    def slanted(self, x: float, y: float, text: str, font: Font, color: Color) -> None:
        """Text that begins at `x`, `y` and rises to the right by 45 degrees."""
        width, height = _pixels(font.length(text) + 1, font.size + 6)
        left, top = _pixels(x, y)

        def act(image: Image.Image, _pen: ImageDraw.ImageDraw) -> None:
            stamp = Image.new("L", (width, height))
            ImageDraw.Draw(stamp).text((0, height / 2), text, 255, _face(font), "lm")
            turned = stamp.rotate(45, Image.Resampling.BICUBIC, expand=True)
            # Where the beginning of the text has come to, seen from the middle.
            away = width / 2 * math.sqrt(0.5)
            at = left - turned.width / 2 + away, top - turned.height / 2 - away
            image.paste(color, (round(at[0]), round(at[1])), turned)

        self._acts.append(act)

    def png(self, height: float) -> bytes:
        """The sheet as a file, cut at `height`."""
        image = Image.new("RGB", _pixels(self.width, height), PAGE)
        pen = ImageDraw.Draw(image)
        for act in self._acts:
            act(image, pen)
        file = io.BytesIO()
        few = image.quantize(palette=_palette(), dither=Image.Dither.NONE)
        few.save(file, "PNG", compress_level=8)  # one more takes three times as long for 5 %
        return file.getvalue()


@cache
def _palette() -> Image.Image:
    """Few colours make a small file: it is stored in the notebook."""
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for color in PAINTS for channel in color])
    return palette


def _pixels(x: float, y: float) -> tuple[int, int]:
    return round(x * SCALE), round(y * SCALE)


def _dashes(points: Sequence[Point], on: float = 4, off: float = 3) -> Iterator[list[Point]]:
    """A line through `points` in dashes, each bend of which begins a new one."""
    for (x, y), (to_x, to_y) in pairwise(points):
        whole = ((to_x - x) ** 2 + (to_y - y) ** 2) ** 0.5
        at = 0.0
        while at < whole:
            ends = at / whole, min(at + on, whole) / whole
            yield [(x + t * (to_x - x), y + t * (to_y - y)) for t in ends]
            at += on + off
