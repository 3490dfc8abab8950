"""Running text on a sheet: stretches of it in several looks, broken into lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sae_widgets.share.color import INK, WARM, Color
from sae_widgets.share.sheet import TEXT, Sheet, printable

LINE_HEIGHT = 23
MOST_LINES = 14
"""Longer texts are cut: a picture in a notebook is not a place to read pages."""


BAR = 5
"""What the bar in front of a stretch takes of the line."""


@dataclass(frozen=True)
class Stretch:
    """Some text in one look: its colour, what is behind and below it, a bar in front of it."""

    text: str
    color: Color = INK
    behind: Color | None = None
    below: Color | None = None
    fork: bool = False

    @property
    def length(self) -> float:
        return TEXT.length(self.text) + (BAR if self.fork else 0)


def lay(sheet: Sheet, left: float, top: float, width: float, text: Iterable[Stretch]) -> float:
    """Put text on a sheet from `left` to `left + width`; returns where it ends."""
    x, line = 0.0, 0
    for word in _words(text):
        blank = word[0].text.isspace()
        if word[0].text == "\n" or (x > 0 and not blank and x + _length(word) > width):
            x, line = 0.0, line + 1
        if line == MOST_LINES:
            sheet.text(left + width, top + line * LINE_HEIGHT - 12, "…", TEXT, INK, "rm")
            break
        if word[0].text == "\n" or (blank and x == 0):
            continue
        for piece in word:
            for part in _fitting(piece, width):
                if x > 0 and not blank and x + part.length > width:
                    x, line = 0.0, line + 1
                _put(sheet, left + x, top + line * LINE_HEIGHT, part)
                x += part.length
    return top + min(line + 1, MOST_LINES) * LINE_HEIGHT


def _length(word: Sequence[Stretch]) -> float:
    return sum(piece.length for piece in word)


def _put(sheet: Sheet, x: float, top: float, piece: Stretch) -> None:
    width = TEXT.length(piece.text)
    if piece.fork:
        sheet.box(x, top + 2, 2, 20, WARM)
        x += BAR
    if piece.behind:
        sheet.box(x, top + 2, width, 20, piece.behind)
    if piece.below:
        sheet.box(x, top + 20, width, 3, piece.below)
    sheet.text(x, top + 12, piece.text, TEXT, piece.color)


def _words(text: Iterable[Stretch]) -> Iterator[list[Stretch]]:
    """Words, which may have several looks, and the white space between them, one by one."""
    word: list[Stretch] = []
    for stretch in text:
        for i, part in enumerate(re.findall(r"\n|[^\S\n]+|\S+", stretch.text)):
            shown = part if part == "\n" else printable(part)
            piece = replace(stretch, text=shown, fork=stretch.fork and i == 0)
            if part.isspace():
                if word:
                    yield word
                yield [piece]
                word = []
            else:
                word.append(piece)
    if word:
        yield word


def _fitting(piece: Stretch, width: float) -> Iterator[Stretch]:
    """A piece in parts of which none is wider than `width`."""
    rest = piece.text
    while TEXT.length(rest) > width:
        cut = next(i for i in range(len(rest), 0, -1) if TEXT.length(rest[:i]) <= width or i == 1)
        yield replace(piece, text=rest[:cut])
        rest = rest[cut:]
    yield replace(piece, text=rest)


def fork(one: Sequence[str], other: Sequence[str]) -> int | None:
    """The first place at which two texts differ; None while one only continues the other."""
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)


def moved(one: Sequence[str], other: Sequence[str]) -> list[bool]:
    """Which tokens of `other` are new: no part of the longest common subsequence.

    Tokens without a letter or digit are never called new. See `moved` in `js/src/text.ts`.
    """
    longest = [[0] * (len(other) + 1) for _ in range(len(one) + 1)]
    for i in reversed(range(len(one))):
        for j in reversed(range(len(other))):
            same = one[i] == other[j]
            longest[i][j] = (
                1 + longest[i + 1][j + 1] if same else max(longest[i + 1][j], longest[i][j + 1])
            )
    marks = [any(letter.isalnum() for letter in token) for token in other]
    i = j = 0
    while i < len(one) and j < len(other):
        if one[i] == other[j]:
            marks[j] = False
            i, j = i + 1, j + 1
        elif longest[i + 1][j] >= longest[i][j + 1]:
            i += 1
        else:
            j += 1
    return marks
