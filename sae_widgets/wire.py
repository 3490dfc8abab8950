"""What the steering panel is told of a run, as plain values: the mirror of `js/src/wire.ts`."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from sae_widgets.model import Model, context_length, identity
from sae_widgets.sae import SAE
from sae_widgets.steering.edits import Add, AnyEdit
from sae_widgets.steering.effects import (
    OverBudget,
    Strong,
    distance,
    effects,
    scaled,
    side_effects,
    together,
    within_budget,
)
from sae_widgets.steering.generation import Run, identity_of_sae
from sae_widgets.steering.painting import painted
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.receipt import receipt
from sae_widgets.steering.sweep import Sweep
from sae_widgets.steering.terms import SAEs, by_name, overlaps
from sae_widgets.tokens import pieces, shown

SHIFTS = 3
"""How many tokens are named that become more, and less, probable at a place."""

FAINT = 0.01
"""Nats below which nothing is named: there is nothing to see."""

ALIKE = 0.3
"""The cosine from which two edits are said to overlap."""

KNEE = (0.1, 1.0)
"""Mean KL in nats a token: from where on a push shows, and to where a text usually bears it."""

REACHES = (4.0, 32.0, 256.0, 2048.0)
"""How far beyond the strength 1 that is looked for: a small reach is searched more finely."""

MEASURES = ("concept", "kl", "surprise", "distinct")
"""What is known of each strength of a sweep; see `sae_widgets.steering.sweep.Point`."""

PACKAGES = ("sae-widgets", "torch", "transformer-lens", "transformers")
"""Those whose version is told, beside Python's."""

About = Callable[[SAE, int], dict[str, Any]]
"""Says what is known of a feature."""

MOVED = 6
"""How many other features are named that rise or fall."""


def told_about(model: Model, saes: SAEs) -> dict[str, Any]:
    """What a widget was made with: enough to tell whether somebody else has the same."""
    known = identity(model)
    return {
        "model": {name: known[name] for name in ("name", "weights", "dtype")},
        "saes": {name: _told_sae(sae) for name, sae in by_name(saes).items()},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that what a widget shows may depend on."""
    return {
        "python": platform.python_version(),
        **{package: _version(package) for package in PACKAGES},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # run from its sources: no reason to show no widget
        return "not installed"


def _told_sae(sae: SAE) -> dict[str, Any]:
    known: dict[str, Any] = identity_of_sae(sae)
    del known["name"]
    return {**known, "provenance": sae.provenance} if sae.provenance else known


def told_run(model: Model, run: Run) -> dict[str, Any]:
    """The texts of a run, and what proves that the edits were applied."""
    return {
        "prompt": [piece.text for piece in pieces(model.tokenizer, run.ids)],
        "arms": [
            {
                "name": arm.name,
                "control": arm.control or "",
                "tokens": _written(model, run, row),
                "nll": _rounded(run.nll(row)),
            }
            for row, arm in enumerate(run.arms)
        ],
        "fork": run.fork,
        "ended": run.stopped,
        "calls": run.hook_calls,
        "ratio": round(run.ratio[1], 4),
        "positions": list(run.positions[1]),
        "seconds": run.seconds,
        "note": _note(run, context_length(model)),
    }


def told_strip(
    model: Model, saes: SAEs, run: Run, edits: Sequence[AnyEdit], prompts: Prompts
) -> dict[str, Any]:
    """Where in the unsteered text of `run` the edits would have had the model go on otherwise.

    Each token stands with the KL (nats) of what was predicted in its place, and the tokens that
    became more and less probable there. `prompts`: where the text, the same while a slider moves,
    is looked up.
    """
    ids = [*run.ids, *run.tokens[0]]
    found = effects(model, saes, ids, edits, prompt=len(run.ids), n=SHIFTS, prompts=prompts)
    kl = [0.0, *found.kl.tolist()[:-1]]  # the first token was not predicted

    def shifts(tokens: torch.Tensor, by: torch.Tensor) -> list[list[list[Any]]]:
        said: list[list[list[Any]]] = [[]]
        for nats, *row in zip(kl[1:], tokens.tolist(), by.tolist(), strict=False):
            pairs = zip(*row, strict=True) if nats > FAINT else ()
            said.append([[shown(model.tokenizer, t), round(change, 3)] for t, change in pairs])
        return said

    return {
        "tokens": [piece.text for piece in pieces(model.tokenizer, ids)],
        "given": len(run.ids),
        "kl": [round(nats, 4) for nats in kl],
        "more": shifts(found.gained, found.gained_by),
        "less": shifts(found.lost, found.lost_by),
    }


def unscaled(edits: Sequence[AnyEdit]) -> tuple[AnyEdit, ...] | None:
    """The edits that are on, scaled together so that the first's strength is 1 away from none.

    None where no factor does that: no edit has a strength, or the first one's changes nothing.
    """
    acting = [edit for edit in edits if edit.on]
    first = next((edit for edit in acting if isinstance(edit, Strong)), None)
    if first is None or not distance(first):
        return None
    return tuple(map(_neat, together(acting, 1 / abs(distance(first)))))


def _neat(edit: AnyEdit) -> AnyEdit:
    """Without the dust of binary fractions, in which two factors of the same edit would differ."""
    if not isinstance(edit, Strong):
        return edit
    return replace(edit, strength=float(f"{edit.strength:.9g}"))


def told_suggestion(
    model: Model,
    saes: SAEs,
    run: Run,
    direction: Sequence[AnyEdit],
    check: Callable[[], None],
) -> list[list[float] | None]:
    """Between which strengths each edit of `direction` shows and is borne, as `KNEE` has it.

    Measured on the unsteered text of `run` with all strengths scaled together. None stands for an
    edit without strength; the list is empty where nothing can be suggested.
    """
    text = [*run.ids, *run.tokens[0]]

    def largest(kl: float) -> float | None:
        for most in REACHES:
            found = within_budget(
                model, saes, text, direction, kl=kl, most=most, prompt=len(run.ids), check=check
            )
            if found < most:
                return found
        return None

    try:
        ends = [largest(kl) for kl in KNEE]
    except OverBudget:
        return []
    low, high = ends
    if low is None or high is None:
        return []
    return [
        sorted(round(scaled(edit, end).strength, 4) for end in (low, high))
        if isinstance(edit, Strong)
        else None
        for edit in direction
    ]


def told_overlaps(saes: SAEs, edits: Sequence[AnyEdit]) -> list[list[Any]]:
    """Each two edits whose directions are alike or opposed, by feature or row, and the cosine."""
    names = [
        f"row {place}" if edit.feature is None else str(edit.feature)
        for place, edit in enumerate(edits, start=1)
    ]
    found = overlaps(edits, saes)
    return [[names[a], names[b], round(cos, 3)] for a, b, cos in found if abs(cos) >= ALIKE]


def told_proof(model: Model, saes: SAEs, run: Run, looking: SAE, about: About) -> dict[str, Any]:
    """How far the steered text is from what the model would have said, what else moved, a receipt.

    For each token that was written, `next` has the likeliest in its place: with what probability,
    and by how much the edits changed it.
    """
    edits, written = run.arms[1].edits, run.tokens[1]
    ids, given = [*run.ids, *written], len(run.ids)
    found = effects(model, saes, ids, edits, prompt=given, n=SHIFTS)
    side = side_effects(model, saes, ids, edits, reader=looking, prompt=given, n=MOVED)
    rows = zip(side.feature.tolist(), side.before.tolist(), side.after.tolist(), strict=True)
    here = slice(given - 1, -1)  # what was predicted in the place of each token
    top = (part[here].tolist() for part in (found.top, found.top_p, found.top_by))
    return {
        "mean": _rounded(float(found.kl[here].mean())),
        "next": [
            [
                [shown(model.tokenizer, token), round(p, 3), round(by, 3)]
                for token, p, by in zip(*row, strict=True)
            ]
            for row in zip(*top, strict=True)
        ],
        "also": [
            {**about(looking, feature), "before": round(old, 4), "after": round(new, 4)}
            for feature, old, new in rows
        ],
        "receipt": repr(receipt(model, saes, run)),
    }


def told_sweep(model: Model, swept: Sweep) -> dict[str, Any]:
    """What every strength of a sweep writes, buys and costs; the first point is no edit at all."""
    run, points = swept.run, [swept.base, *swept.steered, *swept.control]
    arms = [
        {
            "factor": point.factor,
            "control": arm.control or "",
            "tokens": _written(model, run, row),
            "nll": _rounded(run.nll(row)),
            **{name: _rounded(getattr(point, name)) for name in MEASURES},
        }
        for row, (arm, point) in enumerate(zip(run.arms, points, strict=True))
    ]
    return {
        "arms": arms,
        "safe": round(swept.safe, 4),
        "budget": swept.budget,
        "unit": "peak" if swept.peaks else "raw",
    }


def told_painted(edits: Iterable[AnyEdit]) -> list[dict[str, Any]]:
    """What edits of features have painted on the tokens of any text; see `painting.painted`."""
    return [
        {
            "sae": edit.sae,
            "feature": edit.feature,
            "op": edit.op,
            "unit": edit.unit if isinstance(edit, Add) else "",
            "on": edit.on,
            "values": values,
        }
        for edit in edits
        if edit.feature is not None and (values := painted(edit)) is not None
    ]


def _written(model: Model, run: Run, row: int) -> list[str]:
    """What an arm of a run wrote, a text for each token."""
    whole = pieces(model.tokenizer, [*run.ids, *run.tokens[row]])
    return [piece.text for piece in whole[len(run.ids) :]]


def _rounded(value: float | None) -> float | None:
    """JSON knows no NaN, which stands for what there was nothing to measure on."""
    return None if value is None or math.isnan(value) else round(value, 4)


def _note(run: Run, limit: int) -> str:
    notes = []
    if run.stopped == "context":
        notes.append(f"The text fills the {limit} tokens that this model reads at once.")
    if max(run.ratio) > 1:
        notes.append(
            f"The edits move activations by {max(run.ratio):.1f} × their own length: "
            "expect broken text."
        )
    return " ".join(notes)
