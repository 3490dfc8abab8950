"""A sweep: one set of edits at many strengths, and what each strength buys and costs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from sae_widgets.model import Model
from sae_widgets.steering.arms import Arm, Control
from sae_widgets.steering.edits import AnyEdit
from sae_widgets.steering.effects import (
    BASE,
    OverBudget,
    check_budget,
    divergence,
    read,
    together,
    within_budget,
)
from sae_widgets.steering.generation import Run, generate
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.terms import Gauge, SAEs, by_name, gauge
from sae_widgets.tokens import special_mask

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


@dataclass(frozen=True)
class Point:
    """What the edits, or their control, do at one strength."""

    factor: float
    """× the strength that the edits were given with."""
    text: str
    concept: float
    """How much of what was wanted is in the text."""
    kl: float
    """KL(base ‖ steered) along the text, nats a token: the strength in units that compare."""
    surprise: float
    """By how many nats a token the model as it is finds this text less likely than its own."""
    distinct: float
    """Share of the text's pairs of tokens that differ from all others: low where it repeats."""


@dataclass(frozen=True, repr=False)
class Sweep:
    """A set of edits at several strengths, its control beside it; all arms of one run."""

    steered: tuple[Point, ...]
    control: tuple[Point, ...]
    """Empty if there is none."""
    base: Point
    """The model as it is."""
    safe: float
    """The largest factor, up to the largest tried, whose KL on the unsteered text is in budget; 0
    if there is none."""
    budget: float
    peaks: bool
    """Whether `concept` counts in peaks of the feature, and not in units of its own."""
    run: Run

    def __repr__(self) -> str:
        """A table. Where the control does as well as the edits, the edits did nothing."""
        head = f"{'×':>6} {'concept':>8} {'control':>8} {'KL':>7} {'surprise':>9} {'distinct':>9}"
        lines = [head, _line(self.base, None)]
        beside = self.control or (None,) * len(self.steered)
        lines += [_line(*pair) for pair in zip(self.steered, beside, strict=True)]
        tried = max(point.factor for point in self.steered)
        end = ", the largest tried" if self.safe == tried else ""
        lines.append(f"within {self.budget:g} nats a token up to × {self.safe:.2f}{end}")
        return "\n".join(lines)


def sweep(
    model: Model,
    sae: SAEs,
    ids: Sequence[int],
    edits: Sequence[AnyEdit],
    factors: Sequence[float] = FACTORS,
    *,
    max_new_tokens: int = 40,
    temperature: float = 0.0,
    seed: int = 0,
    control: Control | None = "random",
    budget: float = 1.0,
    concept: Callable[[str], float] | None = None,
    check: Callable[[], None] = lambda: None,
    prompts: Prompts | None = None,
) -> Sweep:
    """Let the model continue `ids` under `edits` at every factor times their strength, at once.

    concept: says of a written text how much of what is wanted is in it. None: the mean value (in
    peaks, where its peak is known) that the first edited feature has in the text as the unsteered
    model reads it, so that the text has to evoke the feature by itself. control: the same edits
    along other directions. budget: of the KL, in nats a token, within which `safe` is looked for.
    `check` is called now and then; an exception from it ends the sweep. prompts: see `generate`.
    """
    edits = [edit for edit in edits if edit.on]
    if not factors or not edits:
        raise ValueError("a sweep needs at least one factor and one edit that is on")
    check_budget(budget, max(factors))
    arms = [BASE]
    for kind in (None, control) if control else (None,):
        for factor in factors:
            name = f"× {factor:g}" + (f", {kind}" if kind else "")
            arms.append(Arm(name, together(edits, factor), control=kind))
    if len({arm.name for arm in arms}) < len(arms):
        raise ValueError(f"the factors of a sweep differ from each other; got {list(factors)}")
    run = generate(
        model,
        sae,
        ids,
        arms,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        check=check,
        prompts=prompts,
    )
    mark = gauge(edits[0], by_name(sae)) if concept is None else None
    times = [0.0, *factors, *factors][: len(arms)]
    base, *points = points_of(model, sae, run, times, mark, concept, check=check)
    text, start, most = [*run.ids, *run.tokens[0]], len(run.ids), max(factors)
    try:
        safe = within_budget(
            model, sae, text, edits, kl=budget, most=most, prompt=start, check=check
        )
    except OverBudget:
        safe = 0.0
    steered, beside = points[: len(factors)], points[len(factors) :]
    peaks = mark is not None and mark.peak is not None
    return Sweep(tuple(steered), tuple(beside), base, safe, budget, peaks, run)


def points_of(
    model: Model,
    sae: SAEs,
    run: Run,
    factors: Sequence[float],
    mark: Gauge | None,
    concept: Callable[[str], float] | None = None,
    *,
    check: Callable[[], None] = lambda: None,
) -> list[Point]:
    """What the arms of a run, of which the first has no edits, do at these factors.

    What is wanted is measured by `concept`, else by `mark`.
    """
    found = []
    for row, factor in enumerate(factors):
        check()
        found.append(_point(model, sae, run, row, factor, mark, concept))
    return [replace(each, surprise=each.surprise - found[0].surprise) for each in found]


def _point(
    model: Model,
    sae: SAEs,
    run: Run,
    row: int,
    factor: float,
    mark: Gauge | None,
    concept: Callable[[str], float] | None,
) -> Point:
    """`surprise` is not yet compared with the unsteered text's."""
    written = run.tokens[row]
    start = len(run.ids)
    hooks = [] if mark is None else [mark.hook]
    arms = [BASE, run.arms[row]]
    seen = read(model, sae, [*run.ids, *written], arms, prompt=start, hooks=hooks)
    base, steered = seen.logprob[:, start - 1 : -1]
    shown = math.nan
    if concept is not None:
        shown = float(concept(run.texts[row]))
    elif mark is not None:
        said = ~torch.tensor(special_mask(model.tokenizer, written), dtype=torch.bool)
        with torch.no_grad():
            values = mark.read(seen.before[mark.hook][0, start:][said])
        shown = float(values.mean()) / (mark.peak or 1.0)
    chosen = base.gather(-1, torch.tensor(written, dtype=torch.long)[:, None])
    pairs = list(itertools.pairwise(written))
    return Point(
        factor=factor,
        text=run.texts[row],
        concept=shown,
        kl=float(divergence(base, steered).mean()),
        surprise=float(-chosen.mean()),
        distinct=len(set(pairs)) / max(1, len(pairs)),
    )


def _line(steered: Point, control: Point | None) -> str:
    beside = "" if control is None else f"{control.concept:.2f}"
    return (
        f"{steered.factor:6g} {steered.concept:8.2f} {beside:>8} {steered.kl:7.2f} "
        f"{steered.surprise:9.2f} {steered.distinct:9.2f}"
    )
