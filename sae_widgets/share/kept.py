"""What the picture of a widget keeps beside what it shows: the widget, to live again without state.

Jupyter saves the state of widgets only where a person has asked it to. The picture is always saved.
A PNG may hold more than pixels: chunks of a private name, which every viewer passes over (PNG
specification, third edition, §5.3). In one of them is the widget as a page holds it, in
another, in one picture of a notebook, the page's script and style. `js/src/kept.ts` reads both.

What is read is data: nothing of it is run here.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

from sae_widgets.share.recording import NAMES, Recorded, data, decoded, script, style

VIEW, SCRIPT = b"saEv", b"saEs"
"""The names of the chunks: private ones (the second letter is small) that need not be known (the
first is) and that belong to the picture as it is (the last is), so that editors drop them."""

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MOST = 20_000_000
"""Bytes that a widget may take when it is unpacked; a recording takes at most one million."""


def with_view(png: bytes, widget: Recorded, *, carrier: bool) -> bytes:
    """A picture that keeps `widget`; a carrier keeps the page's script besides, for all others."""
    chunks = [_chunk(VIEW, data([widget]))]
    if carrier:
        chunks.append(_chunk(SCRIPT, json.dumps({"script": script(), "style": style()})))
    end = len(png) - 12  # the last chunk of every PNG, which is empty
    return png[:end] + b"".join(chunks) + png[end:]


def view_in(png: bytes) -> Recorded | None:
    """The widget that a picture keeps; None, if it keeps none, or none of ours."""
    for name, packed in _chunks(png):
        if name == VIEW:
            try:
                (widget,) = decoded(json.loads(_unpacked(packed)))
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError, zlib.error):
                return None
            return widget if widget.name in NAMES.values() else None
    return None


def without_view(png: bytes) -> bytes:
    """The picture alone."""
    parts = [SIGNATURE]
    for name, packed in _chunks(png):
        if name not in (VIEW, SCRIPT):
            check = zlib.crc32(name + packed)
            parts += [struct.pack(">I", len(packed)), name, packed, struct.pack(">I", check)]
    return b"".join(parts)


def _chunk(name: bytes, text: str) -> bytes:
    packed = zlib.compress(text.encode(), 9)
    check = zlib.crc32(name + packed)
    return struct.pack(">I", len(packed)) + name + packed + struct.pack(">I", check)


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The name and data of each chunk, as far as they make sense."""
    at = len(SIGNATURE)
    if png[:at] != SIGNATURE:
        return
    while at + 12 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += 12 + length


def _unpacked(packed: bytes) -> Any:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(packed, MOST)
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ValueError(f"it is cut short, or longer than {MOST} bytes")
    return text
