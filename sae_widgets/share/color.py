"""The colours of a picture: the widgets' own, in their light theme on a white page.

The mirror of `js/src/color.ts` and of what `js/src/widgets/base.css` comes to in JupyterLab.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cache

Color = tuple[int, int, int]


def mixed(share: float, of: Color, into: Color) -> Color:
    """`share` (0 to 1) of one colour in another."""
    return _rgb(share * a + (1 - share) * b for a, b in zip(of, into, strict=True))


def _rgb(channels: Iterable[float]) -> Color:
    red, green, blue = (round(min(255.0, max(0.0, channel))) for channel in channels)
    return red, green, blue


PAGE: Color = (255, 255, 255)
INK: Color = (33, 33, 33)
SOFT = mixed(0.62, INK, PAGE)
LINE = mixed(0.13, INK, PAGE)
WELL = mixed(0.05, INK, PAGE)
ACCENT: Color = (59, 111, 212)
WARM: Color = (194, 87, 26)
OK: Color = (46, 125, 79)
NEW = mixed(0.17, WARM, PAGE)  # behind words that the other text does not have
BAND = mixed(0.13, ACCENT, PAGE)  # strengths that are worth trying
SAFE = mixed(0.11, ACCENT, PAGE)  # strengths that keep to the budget

HUES: tuple[Color, ...] = (
    (8, 67, 130),
    (255, 68, 0),
    (11, 158, 160),
    (150, 57, 236),
    (120, 51, 6),
    (6, 24, 37),
)
"""Of the lines of several SAEs in one chart; after the last comes the first again."""

STEPS = 33
"""Of the ramp: so many shades an eye can tell apart, and Pillow, when it makes a small file."""

HALF, FULL = (0.63, 0.15, 260.0), (0.29, 0.125, 264.0)
"""Half of a feature's peak, and all of it: lightness, chroma and hue (degrees) in OKLCH."""

Lab = tuple[float, float, float]


@cache
def ramp() -> tuple[Color, ...]:
    """The shades from an absent feature, which looks like nothing, to one at its peak."""
    zero, half, full = _oklab(WELL), _polar(*HALF), _polar(*FULL)
    shares = [2 * i / (STEPS - 1) for i in range(STEPS)]
    return tuple(
        _srgb(_between(zero, half, t) if t < 1 else _between(half, full, t - 1)) for t in shares
    )


def shade(share: float) -> Color:
    """`share` (0 to 1, and beyond it the ends) of the ramp."""
    return ramp()[round(min(1.0, max(0.0, share)) * (STEPS - 1))]


def _between(one: Lab, other: Lab, t: float) -> Lab:
    a, b, c = ((1 - t) * x + t * y for x, y in zip(one, other, strict=True))
    return a, b, c


def _polar(lightness: float, chroma: float, hue: float) -> Lab:
    angle = math.radians(hue)
    return lightness, chroma * math.cos(angle), chroma * math.sin(angle)


# The two matrices of OKLab, both ways: Ottosson, "A perceptual color space", 2020.


def _srgb(lab: Lab) -> Color:
    lightness, a, b = lab
    long = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3
    middle = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3
    short = (lightness - 0.0894841775 * a - 1.2914855480 * b) ** 3
    linear = (
        4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
        -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
        -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    )
    return _rgb(
        255 * (12.92 * c if c <= 0.0031308 else 1.055 * max(c, 0.0) ** (1 / 2.4) - 0.055)
        for c in linear
    )


def _oklab(color: Color) -> Lab:
    red, green, blue = (
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in color)
    )
    long = math.cbrt(0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue)
    middle = math.cbrt(0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue)
    short = math.cbrt(0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


EDGES = 10
"""Shades of a colour towards the page: the soft edges of letters."""

PAINTS: tuple[Color, ...] = (
    PAGE,
    WELL,
    LINE,
    NEW,
    BAND,
    SAFE,
    *ramp(),
    *(
        mixed(i / EDGES, color, PAGE)
        for color in (INK, SOFT, ACCENT, WARM, OK, *HUES)
        for i in range(1, EDGES + 1)
    ),
)
"""All colours of a picture."""
