"""Painted edits: a strength for each token of a text, as an edit, and read off one again.

A painted edit has its schedule in `Values`, the first of them for the first token of the text. It
counts places and knows no words: whatever text it is used on is pushed at the same places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sae_widgets.steering.edits import Add, AnyEdit, Span
from sae_widgets.steering.schedules import Values


def painted(edit: AnyEdit) -> list[float] | None:
    """What is painted on the tokens of a text, from the first on; None if `edit` is not painted.

    Of an `Add` its strength at each of them, of another operation how much of it is done. A
    schedule that is counted from the end of the prompt has no place in a text: None.
    """
    if not isinstance(edit.schedule, Values) or edit.where in ("generated", "last"):
        return None
    span = edit.where if isinstance(edit.where, Span) else Span()
    whole = edit.strength if isinstance(edit, Add) else 1.0
    shares = [s if i % span.step == 0 else 0.0 for i, s in enumerate(edit.schedule.values)]
    return [*[0.0] * span.start, *(whole * share for share in shares)][: span.stop]


def repainted(edit: AnyEdit, strengths: Sequence[float]) -> AnyEdit | None:
    """`edit` with `strengths` on the tokens, as `painted` reads them; None where all are zero.

    The strength of an `Add` becomes the largest of them, and its place the tokens from the first
    that has one to the last: that is what a person reads of it.
    """
    values = tuple(map(float, strengths))
    some = [i for i, value in enumerate(values) if value]
    if not some:
        return None
    Values(values)  # which refuses what is no number
    start, end = some[0], some[-1] + 1
    top = max(values, key=abs) if isinstance(edit, Add) else 1.0
    where = edit.where
    # Counted from the first token: a place that begins there is kept.
    if where in ("all", "prompt"):
        start = 0
    else:
        where = Span(start, end)
    shares = values[start:end] if top == 1 else tuple(value / top for value in values[start:end])
    new = replace(edit, where=where, schedule=Values(shares))
    return replace(new, strength=top) if isinstance(new, Add) else new
