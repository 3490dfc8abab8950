"""The colours of several SAEs in one chart: in pictures as on the screen, and told apart by all."""

import re
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from sae_widgets.share.color import HUES

CSS = (Path(__file__).parents[1] / "js/src/widgets/training.css").read_text()
LIGHT, DARK = zip(*re.findall(r"light-dark\(#(\w+), #(\w+)\)", CSS), strict=True)
PAGES = {"light": (LIGHT, (255, 255, 255)), "dark": (DARK, (17, 17, 17))}

# Machado, Oliveira and Fernandes 2009, table 1, severity 1.0: linear RGB as such an eye sees it.
EYES = {
    "usual": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
# Ottosson, "A perceptual color space", 2020.
CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
OKLAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def rgb(text):
    return tuple(int(text[i : i + 2], 16) for i in (0, 2, 4))


def linear(color):
    c = np.array(color) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def seen(eye, text):
    light = np.clip(np.array(EYES[eye]) @ linear(rgb(text)), 0, 1)
    return np.array(OKLAB) @ np.cbrt(np.array(CONES) @ light)


def test_a_picture_has_the_colours_of_the_screen():
    assert [rgb(text) for text in LIGHT] == list(HUES)


@pytest.mark.parametrize("theme", PAGES)
@pytest.mark.parametrize("eye", EYES)
def test_every_two_colours_differ_for_every_eye(theme, eye):
    """0.02 in OKLab is what an eye can just tell apart side by side."""
    colors, _ = PAGES[theme]
    gaps = [np.linalg.norm(seen(eye, a) - seen(eye, b)) for a, b in combinations(colors, 2)]
    assert min(gaps) > 0.12


@pytest.mark.parametrize("theme", PAGES)
def test_every_line_stands_out_from_the_page(theme):
    """By 3 to 1, as WCAG 2.1 asks of what is drawn."""
    colors, page = PAGES[theme]
    weights = np.array([0.2126, 0.7152, 0.0722])
    ground = linear(page) @ weights
    for text in colors:
        low, high = sorted([linear(rgb(text)) @ weights, ground])
        assert (high + 0.05) / (low + 0.05) >= 3, text
