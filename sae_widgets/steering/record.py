"""Record edits, one at a time, at many strengths: to be looked through when the model is away."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from jaxtyping import Float
from torch import Tensor

from sae_widgets.model import Model
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.edits import AnyEdit
from sae_widgets.steering.effects import BASE, Strong, divergence, predictions
from sae_widgets.steering.generation import Run, generate
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.sweep import Point, points_of
from sae_widgets.steering.terms import SAEs, by_name, gauge
from sae_widgets.tokens import pieces

STRENGTHS = (-1.0, -0.75, -0.5, -0.25, 0.25, 0.5, 0.75, 1.0)

LARGEST = 1_000_000
"""Bytes that a recording may take in a notebook, where it is stored with every widget."""


@dataclass(frozen=True)
class Wrote:
    """What one arm wrote, and what its edit bought and cost there.

    None stands for what there was nothing to measure on.
    """

    strength: float | None
    """None: without the edit."""
    tokens: tuple[str, ...]
    nll: float | None
    """Of the text under what wrote it, nats a token."""
    concept: float | None
    kl: float | None
    surprise: float | None
    distinct: float | None
    """These four as in a `Point` of a sweep."""
    ratio: float
    """Mean ‖change‖ / ‖activation‖ where the edit acted."""
    positions: tuple[int, int]
    """At how many positions it did: of the prompt, after it."""
    strip: tuple[float, ...]
    """KL (nats) of what is predicted in the place of each token of the unsteered text, the prompt
    among it; empty without the edit."""


@dataclass(frozen=True)
class Take:
    """One edit with one seed: without it, and at every strength; all arms of one batch."""

    edit: Mapping[str, Any]
    """In its JSON form; the strength there says nothing."""
    seed: int
    peaks: bool
    """Whether `concept` counts in peaks of the feature."""
    arms: tuple[Wrote, ...]

    @property
    def strengths(self) -> tuple[float, ...]:
        return tuple(arm.strength for arm in self.arms if arm.strength is not None)


@dataclass(frozen=True)
class Plan:
    """What is to be recorded: each edit by itself, at its strengths, with each seed.

    Raises a ValueError where that makes no sense, or is too much.
    """

    ids: Sequence[int]
    """The prompt."""
    edits: Sequence[AnyEdit]
    strengths: Sequence[Sequence[float]]
    """For each edit."""
    seeds: Sequence[int]
    length: int
    temperature: float

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError(f"a run writes at least 1 token; got length {self.length}")
        if not self.edits:
            raise ValueError("there is nothing to record: name at least one feature or edit")
        if not self.seeds:
            raise ValueError("a recording needs at least one seed; got none")
        alike = [replace(edit, strength=1.0, on=True) for edit in self.strong]
        if twice := next((edit for i, edit in enumerate(alike) if edit in alike[:i]), None):
            raise ValueError(f"an edit is recorded once, at all strengths; got {twice!r} twice")
        if len(set(self.seeds)) < len(self.seeds) or any(
            isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**53
            for seed in self.seeds
        ):
            raise ValueError(f"seeds are whole numbers from 0, each once; got {list(self.seeds)}")
        for some in self.strengths:
            if not some or len(set(some)) < len(some) or not all(map(math.isfinite, some)):
                raise ValueError(
                    "an edit is recorded at one or more strengths, finite and each once; got "
                    f"{list(some)}"
                )
        if self.size > LARGEST:
            raise ValueError(
                f"this would record {self.told} in the notebook, and {kilobytes(LARGEST)} is the "
                "most: record fewer features, strengths or seeds, or fewer tokens"
            )

    @property
    def strong(self) -> list[Strong]:
        """The edits, all of which have a strength."""
        found = [edit for edit in self.edits if isinstance(edit, Strong)]
        if len(found) < len(self.edits):
            bare = next(edit for edit in self.edits if not isinstance(edit, Strong))
            raise ValueError(f"{bare!r} has no strength to record it at; leave it out")
        return found

    @property
    def takes(self) -> list[Take]:
        """What it will make, in order, before anything is written."""
        return [Take(bare(edit), seed, False, ()) for seed in self.seeds for edit in self.strong]

    @property
    def runs(self) -> int:
        return len(self.seeds) * sum(map(len, self.strengths))

    @property
    def size(self) -> int:
        """About how many bytes it will take in a notebook, which stores bytes in base64."""
        arms = self.runs + len(self.seeds) * len(self.edits)
        written = arms * (18 + 2 * self.length)
        strips = 2 * self.runs * (len(self.ids) + self.length)
        # Few of the tokens are new: about as many as grow with the root of a text's length.
        words = 12 * (12 * math.sqrt(arms * self.length) + len(self.ids))
        told = 200 * len(self.seeds) * len(self.edits) + 10 * self.runs
        return round((written + strips) * 4 / 3 + words + told)

    @property
    def told(self) -> str:
        """How much it is, in words."""
        return f"{self.runs:,} runs of {self.length} tokens, about {kilobytes(self.size)}"


def kilobytes(size: int) -> str:
    return f"{max(1, round(size / 1000)):,} kB"


def record(
    model: Model,
    sae: SAEs,
    plan: Plan,
    *,
    check: Callable[[], None] = lambda: None,
    tell: Callable[[float], None] = lambda share: None,  # noqa: ARG005
    prompts: Prompts | None = None,
) -> Iterator[Take]:
    """Make the takes of a plan, seed by seed.

    `check` is called before every token: an exception from it ends the recording, and the takes
    that have been given out are whole. `tell` is told the share that is done.
    """
    takes = [
        (seed, edit, strengths)
        for seed in plan.seeds
        for edit, strengths in zip(plan.strong, plan.strengths, strict=True)
    ]
    steps = len(takes) * (plan.length + 1)
    for place, (seed, edit, strengths) in enumerate(takes):
        done = itertools.count(place * (plan.length + 1))

        def step(_: object, done: Iterator[int] = done) -> None:
            tell(next(done) / steps)

        steered = [replace(edit, strength=strength, on=True) for strength in strengths]
        arms = [BASE, *(Arm(repr(each.strength), (each,)) for each in steered)]
        run = generate(
            model,
            sae,
            plan.ids,
            arms,
            max_new_tokens=plan.length,
            temperature=plan.temperature,
            seed=seed,
            check=check,
            on_step=step,
            prompts=prompts,
        )
        mark = gauge(edit, by_name(sae))
        points = points_of(model, sae, run, [0.0, *strengths], mark, check=check)
        wrote = _wrote(model, sae, run, [None, *strengths], points, prompts, check)
        yield Take(bare(edit), seed, mark.peak is not None, wrote)
        tell((place + 1) / len(takes))


def _wrote(
    model: Model,
    sae: SAEs,
    run: Run,
    strengths: Sequence[float | None],
    points: Sequence[Point],
    prompts: Prompts | None,
    check: Callable[[], None],
) -> tuple[Wrote, ...]:
    text, start = [*run.ids, *run.tokens[0]], len(run.ids)

    def predicted(arm: Arm) -> Float[Tensor, "position d_vocab"]:
        check()
        # One at a time: of a long text and a large vocabulary, all arms' would be gigabytes.
        return predictions(model, sae, text, [arm], prompt=start, prompts=prompts)[0]

    base, arms = predicted(run.arms[0]), []
    for row, (strength, point) in enumerate(zip(strengths, points, strict=True)):
        # The first token was not predicted.
        kl = [0.0, *divergence(base, predicted(run.arms[row])).tolist()[:-1]] if row else []
        whole = pieces(model.tokenizer, [*run.ids, *run.tokens[row]])
        arms.append(
            Wrote(
                strength=strength,
                tokens=tuple(piece.text for piece in whole[start:]),
                nll=run.nll(row),
                concept=_known(point.concept),
                kl=_known(point.kl),
                surprise=_known(point.surprise),
                distinct=_known(point.distinct),
                ratio=run.ratio[row],
                positions=run.positions[row],
                strip=tuple(kl),
            )
        )
    return tuple(arms)


def bare(edit: Strong) -> dict[str, Any]:
    """An edit as takes know it, whatever its strength."""
    return replace(edit, strength=1.0, on=True).to_json()


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def seconds(model: Model, sae: SAEs, plan: Plan, check: Callable[[], None]) -> float:
    """About how long recording a plan will take, judged by its beginning."""

    def took(length: int) -> float:
        first = replace(
            plan,
            edits=plan.edits[:1],
            strengths=plan.strengths[:1],
            seeds=plan.seeds[:1],
            length=length,
        )
        start = time.perf_counter()
        for _ in record(model, sae, first, check=check):
            pass
        return time.perf_counter() - start

    took(1)  # what is done once is done now
    more = max(1, plan.length // 4)
    short, long = took(1), took(1 + more)
    each = short + max(0.0, long - short) / more * (plan.length - 1)
    return each * len(plan.edits) * len(plan.seeds)
