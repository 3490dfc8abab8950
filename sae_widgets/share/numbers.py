"""Numbers as the widgets write them: the mirror of `js/src/text.ts`."""

from __future__ import annotations


def number(value: float | None) -> str:
    """A value with three significant digits, and a true minus sign."""
    if value is None:
        return "–"
    size = abs(value)
    if 0 < size < 0.005:
        return _minus(f"{value:.0e}".replace("e-0", "e-"))
    return _minus(f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2}f}")


def change(value: float) -> str:
    """A change with its sign: +0.31, −12.4."""
    return f"{'−' if value < 0 else '+'}{number(abs(value))}"


def signed(value: float) -> str:
    """A score with its sign: +2.9, −1.8."""
    text = f"{value:.{1 if abs(value) < 10 else 0}f}"
    return f"+{text}" if value >= 0 else _minus(text)


def percent(share: float | None) -> str:
    """A share as a percentage: 0.019 is 1.9 %."""
    if share is None:
        return "–"
    value = 100 * share
    if 0 < value < 0.01:
        return "< 0.01 %"
    return f"{round(value, 0 if value >= 9.95 else 2 if value < 0.1 else 1):g} %"


def strength(value: float) -> str:
    """A strength: at most three decimals, none wasted."""
    return _minus(f"{round(value, 3):g}")


def count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _minus(text: str) -> str:
    return text.replace("-", "−")
