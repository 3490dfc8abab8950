"""Plausible answers for the widgets to show, from no model at all."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sae_widgets.steering.record import Take, Wrote
from sae_widgets.widgets import Cancelled, FeatureRow, HeatmapView, Replaced
from sae_widgets.widgets.recording import Recording

SAES = [
    {
        "name": "topk",
        "title": "BatchTopK 256",
        "placebo": None,
        "hook": "blocks.2.hook_resid_post",
        "width": 256,
        "norm": 8.0,
    },
    {
        "name": "frozen",
        "title": "frozen decoder 256",
        "placebo": "its directions are random and were never trained",
        "hook": "blocks.2.hook_resid_post",
        "width": 256,
        "norm": 8.0,
    },
]

# number, name, peak, density, words on which it fires and how strongly (× peak)
CONCEPTS: list[tuple[int, str, float, float, dict[str, float]]] = [
    (
        131,
        "sea, ships and sailors",
        6.42,
        0.019,
        {
            "ahoy": 0.5,
            "captain": 0.8,
            "salty": 0.9,
            "waves": 0.98,
            "harbor": 0.9,
            "stirred": 0.2,
            ".": 0.3,
        },
    ),
    (
        57,
        "kitchen and cooking",
        5.1,
        0.022,
        {"stirred": 0.9, "soup": 1.0, "salty": 0.2, "the": 0.12},
    ),
    (
        204,
        "pirate register",
        4.7,
        0.04,
        {"ahoy": 0.95, ",": 0.8, "captain": 0.5, "the": 0.35},
    ),
    (
        12,
        "past tense verb",
        3.3,
        0.09,
        {"stirred": 1.0, "praised": 0.95, "smiled": 0.9, "opened": 0.9},
    ),
    (
        176,
        "time of day",
        4.0,
        0.012,
        {"dusk": 1.0, "at": 0.55},
    ),
    (
        33,
        "joyful mood",
        3.9,
        0.2,
        {"praised": 0.9, "the": 0.25, "salty": 0.4, "smiled": 0.8, "waves": 0.3},
    ),
    (
        91,
        "a character's name",
        7.9,
        0.05,
        {"mira": 1.0, "praised": 0.3},
    ),
    (
        8,
        "noun comes next",
        2.2,
        0.15,
        {"the": 0.9, "salty": 0.55, "at": 0.2},
    ),
    (
        240,
        "sentence ends",
        5.5,
        0.11,
        {".": 1.0, "dusk": 0.4, "waves": 0.45},
    ),
    (
        119,
        "adjective of the sea",
        4.4,
        0.008,
        {"salty": 1.0, "waves": 0.4},
    ),
    (
        66,
        "person who commands",
        3.0,
        0.006,
        {"captain": 0.9, "ahoy": 0.1},
    ),
    (
        154,
        "preposition of time",
        2.8,
        0.014,
        {"at": 1.0, "dusk": 0.25},
    ),
    (
        77,
        "an opening or a door, and whoever goes through it",
        3.1,
        0.01,
        {"door": 1.0, "opened": 0.7},
    ),
    (
        5,
        "",
        1.4,
        0.31,
        {"the": 0.3, "and": 0.5},
    ),
]

LIKELY = [["·waves", 2.9], ["·harbor", 2.6], ["·sail", 2.4], ["·tide", 2.1], ["·deck", 1.9]]
UNLIKELY = [["·oven", -1.8], ["·referee", -1.5], ["·recipe", -1.2]]


def read(text: str, sae: str, check: Callable[[], None] = lambda: None) -> HeatmapView:
    """The concepts above, wherever their words stand; a little noise beside them."""
    check()
    words = re.findall(r" ?\w+| ?[^\w\s]|\s+", text)
    tokens = ["⟨bos⟩", *(w.replace(" ", "·").replace("\n", "↵") for w in words)]
    random = np.random.default_rng(len(words))
    found: dict[int, dict[int, float]] = {}
    for i, (_, _, peak, density, strengths) in enumerate(CONCEPTS):
        for column, word in enumerate(words, start=1):
            share = strengths.get(word.strip().lower(), 0.0)
            if sae == "frozen":
                share = float(random.random() * (random.random() < 0.25))
            elif share == 0 and random.random() < 2 * density:
                share = 0.15 * float(random.random())
            if share:
                found.setdefault(i, {})[column] = share * peak
    order = sorted(found, key=lambda i: -max(found[i].values()) / CONCEPTS[i][2])
    cells = [(r, c, v) for r, i in enumerate(order) for c, v in found[i].items()]
    values = [np.array([v for _, c, v in cells if _ == r]) for r in range(len(order))]
    rows = [
        FeatureRow(
            *CONCEPTS[i][:4],
            max=float(values[r].max()),
            mean=float(values[r].mean()),
            share=len(values[r]) / max(1, len(words)),
        )
        for r, i in enumerate(order)
    ]
    return HeatmapView(
        text=text,
        sae=sae,
        tokens=tokens,
        features=rows,
        row=[r for r, _, _ in cells],
        column=[c for _, c, _ in cells],
        value=[v for _, _, v in cells],
        active=len(rows),
        special=[0],
        model="demo",
        hook="blocks.2.hook_resid_post",
        width=256,
        explained=[0.0, *(0.86 + 0.13 * random.random(len(words)))],
    )


def describe(features: list[int], sae: str) -> list[dict[str, Any]]:
    return [card(feature, sae) for feature in features]


def card(feature: int, sae: str) -> dict[str, Any]:  # noqa: ARG001
    _, label, peak, density, _ = next(c for c in CONCEPTS if c[0] == feature)
    bins = np.arange(32)
    histogram = 900 * np.exp(-((bins - 4) ** 2) / 50) + 90 * np.exp(-((bins - 20) ** 2) / 30) + 2
    return {
        "feature": feature,
        "label": label,
        "peak": peak,
        "density": density,
        "histogram": histogram.astype(int).tolist(),
        "likely": LIKELY,
        "unlikely": UNLIKELY,
    }


SEA = {"op": "add", "feature": 131, "strength": 0.48, "unit": "peak", "where": "generated",
       "schedule": {"kind": "decay", "half": 6}, "sae": "topk", "on": True}  # fmt: skip
FEATURES = [
    {"sae": sae, "feature": n, "label": label, "peak": peak, "density": density,
     "push": SEA if n == 131 and sae == "topk" else None}
    for sae in ("topk", "frozen")
    for n, label, peak, density, _ in CONCEPTS
]  # fmt: skip

UNSTEERED = (
    " oven and tasted the warm bread. Lena praised the tasty soup at noon. Then the cook smiled"
    " and stirred the pot again, slowly."
)
STEERED = (
    " harbor and sailed near the salty waves. Lena praised the blue reef at noon. Then the sailor"
    " smiled and raised the anchor again, slowly."
)


def pieces(text: str) -> list[str]:
    return re.findall(r" ?\w+| ?[^\w\s]|\s+", text)


def run(
    request: Mapping[str, Any],
    check: Callable[[], None],
    on_tokens: Callable[[Sequence[Sequence[str]]], None],
    pause: float = 0.0,
) -> dict[str, Any]:
    """One text, and another where something pushes."""
    start = time.perf_counter()
    pushes = any(e.get("on", True) and e.get("strength", 1) != 0 for e in request["edits"])
    length = request["length"]
    unsteered, steered = pieces(UNSTEERED)[:length], pieces(STEERED)[:length]
    texts = [unsteered, steered if pushes else unsteered]
    ended = "length"
    for step in range(max(map(len, texts))):
        try:
            check()
        except Replaced:
            raise
        except Cancelled:  # what is written stays, as in a session
            ended, texts = "stopped", [text[:step] for text in texts]
            break
        on_tokens([text[step : step + 1] for text in texts])
        if pause:
            time.sleep(pause)
    prompt = pieces(request["prompt"])
    steps = max(0, len(texts[0]) - 1)
    return {
        "prompt": prompt,
        "arms": [
            {"name": "base", "tokens": texts[0], "nll": 1.71},
            {"name": "steered", "tokens": texts[1], "nll": 1.93 if pushes else 1.71},
        ],
        "fork": 0 if pushes else None,
        "ended": ended,
        "calls": {"prefill": 1, "steps": steps},
        "ratio": 0.39 if pushes else 0.0,
        "positions": [len(prompt), steps] if pushes else [0, 0],
        "seconds": time.perf_counter() - start,
        "note": "",
    }


def measure(
    request: Mapping[str, Any], check: Callable[[], None], written: bool
) -> Iterator[dict[str, Any]]:
    """What the push does to the texts of `run`."""
    check()
    if not any(e.get("on", True) and e.get("strength", 1) != 0 for e in request["edits"]):
        return
    prompt = pieces(request["prompt"])
    tokens = [*prompt, *pieces(UNSTEERED)[: request["length"]]]
    kl = [
        0.0 if i < 2 else round(abs(2.2 * math.sin(1.7 * i)) ** 3 / 5, 3)
        for i in range(len(tokens))
    ]
    yield {
        "suggested": [[0.2, 0.55] if e.get("on", True) else None for e in request["edits"]],
        "tokens": tokens,
        "given": len(prompt),
        "kl": kl,
        "more": [[["·harbor", 0.31], ["·reef", 0.12]] if nats > 0.01 else [] for nats in kl],
        "less": [[["·oven", -0.22]] if nats > 0.01 else [] for nats in kl],
    }
    if not written:
        return
    also = [
        (12, "past tense", 1.2, 1.51),
        (204, "pirate register", 0.3, 0.52),
        (57, "kitchen and cooking", 1.9, 1.26),
    ]
    yield {
        "mean": 0.61,
        "next": [
            [[token.replace(" ", "·"), 0.41, 0.38], ["·oven", 0.12, -0.2]]
            for token in pieces(STEERED)[: request["length"]]
        ],
        "also": [
            {"sae": "topk", "feature": f, "label": label, "before": old, "after": new}
            for f, label, old, new in also
        ],
        "receipt": "demo, seed 0\n  steered: Add(131, 0.48) at 36 tokens: value 0.2 → 3.05",
    }


def sweep(_request: Mapping[str, Any], check: Callable[[], None]) -> dict[str, Any]:
    """The push at many strengths, and a control that does nothing."""
    check()
    factors = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
    rows = [(0.0, ""), *((f, "") for f in factors), *((f, "random") for f in factors)]
    arms = [
        {
            "factor": factor,
            "control": control,
            "tokens": pieces(STEERED if factor >= 0.75 and not control else UNSTEERED),
            "nll": 1.7 + 0.2 * factor,
            "concept": 0.02 if control else round(0.5 / (1 + math.exp(6 - 9 * factor)), 3),
            "kl": round(0.25 * factor**2, 3),
            "surprise": 0.1 * factor,
            "distinct": 1.0,
        }
        for factor, control in rows
    ]
    return {"arms": arms, "safe": 1.6, "budget": 1.0}


STRENGTHS = (-0.6, 0.2, 0.4, 0.8)


def estimate(
    request: Mapping[str, Any], before: Recording | None, check: Callable[[], None]
) -> str:
    """What the person is asked."""
    check()
    kept = "" if before is None else f", beside {len(before.takes)} recorded before"
    return f"{4 * len(request['edits'])} runs of {request['length']} tokens, about 9 kB{kept}"


def record(
    request: Mapping[str, Any],
    before: Recording | None,  # noqa: ARG001
    check: Callable[[], None],
    tell: Callable[[float], None],
) -> Iterator[Recording]:
    """Each edit at four strengths; what it writes begins with its number, strength and seed."""
    given = pieces(request["prompt"])
    base = pieces(UNSTEERED)[: request["length"]]
    takes = [(seed, edit) for seed in request["seeds"] for edit in request["edits"]]
    for done, (seed, edit) in enumerate(takes):
        check()
        tell(done / len(takes))

        def wrote(strength: float | None, seed: int = seed, edit: Any = edit) -> Wrote:
            push, said = abs(strength or 0), f" {edit['feature']} at {strength}, {seed}:"
            text = base if strength is None else pieces(said + STEERED)[: request["length"]]
            return Wrote(
                strength=strength,
                tokens=tuple(text),
                nll=1.7 + push / 5,
                concept=round(push**2, 3),
                kl=push / 2,
                surprise=push / 10,
                distinct=1.0,
                ratio=push,
                positions=(0, len(text) - 1) if strength else (0, 0),
                strip=() if strength is None else (0.0,) * len(given) + (push,) * len(base),
            )

        arms = tuple(map(wrote, (None, *STRENGTHS)))
        take = Take({**edit, "strength": 1.0, "on": True}, seed, True, arms)
        manner = request["length"], request["temperature"]
        yield Recording(request["prompt"], tuple(given), *manner, (take,))
