"""The hooks that apply edits: one function for each hook point, compiled from all arms.

An arm is a list of edits; the arms are the rows of one batch. All changes at a hook point are
computed from the same unedited activation and summed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional as F

from sae_widgets.model import (
    Model,
    attached,
    check_hook,
    device_of,
    lock,
    silent_hook,
    vocabulary_size,
    watched,
)
from sae_widgets.sae import SAE
from sae_widgets.steering.conditions import Condition, Fires, Near, Sense
from sae_widgets.steering.edits import (
    Ablate,
    Add,
    AnyEdit,
    Ceiling,
    Floor,
    Measured,
    ProjectOut,
    Replace,
    Rotate,
    Scale,
    Set,
    Span,
    Where,
)
from sae_widgets.steering.schedules import Schedule
from sae_widgets.tokens import special_ids

SAEs = SAE | Mapping[str, SAE] | None
"""One SAE, or several by name (an edit that names none means the first), or none for vectors."""

MEASURED = (Add, Set, Floor, Ceiling, Replace)
DECIDING = (Set, Floor, Ceiling, Scale, Ablate, ProjectOut)
"""Edits that say what a feature's value becomes."""


@contextmanager
def steering(
    model: Model, sae: SAEs, edits: Sequence[AnyEdit], *, restore_norm: bool = False
) -> Iterator[None]:
    """Apply `edits` to every forward pass that this block makes, however it is made.

    With `restore_norm`, activations keep the length they had.

    A text is met when the model reads it afresh, and all of it is the prompt. What continues it is
    generated: tokens read on top of a key-value cache, and tokens after the prompt when the same
    ids are read again with more behind them. The model is locked while the block runs.
    """
    compiled = compile_arms(model, sae, [edits], restore_norm=[restore_norm])
    running = Passes(model)
    with lock(model), watched(model, running.see):
        functions = {hook: change.during(running) for hook, change in compiled.items()}
        with attached(model, functions):
            yield
    for hook, change in compiled.items():
        if running.count and not change.calls:
            raise RuntimeError(silent_hook(hook))


def compile_arms(
    model: Model,
    sae: SAEs,
    arms: Sequence[Sequence[AnyEdit]],
    *,
    restore_norm: Sequence[bool] = (),
) -> dict[str, Change]:
    """Turn the edits of each arm into one `Change` for each hook point they touch.

    `restore_norm` says for each arm whether activations keep their length; empty: for none.
    """
    saes = by_name(sae)
    changes: dict[str, Change] = {}
    with torch.no_grad():
        for row, edits in enumerate(arms):
            _check_conflicts(edits, saes)
            for edit in edits:
                if not edit.on:
                    continue
                term = _term(edit, saes)
                check_hook(model, term.hook)
                changes.setdefault(term.hook, Change(len(arms))).add(row, term)
                for sense in () if edit.when is None else edit.when.senses():
                    hook, read = _sensor(sense, saes)
                    check_hook(model, hook)
                    changes.setdefault(hook, Change(len(arms))).sense(sense, read)
        for change in changes.values():
            for row, restored in enumerate(restore_norm):
                if restored:
                    change.restore_norm(row)
            change.settle(device_of(model))
    return changes


def by_name(sae: SAEs) -> dict[str, SAE]:
    """SAEs by name, the first being the one that is meant where none is named."""
    if sae is None:
        return {}
    return {sae.name: sae} if isinstance(sae, SAE) else dict(sae)


# What the running pass reads


class Passes:
    """What the running forward pass reads: which positions are special, which are generated.

    `begin` is told by our own generation, which knows; `see` works it out from passes that
    somebody else makes.
    """

    def __init__(self, model: Model) -> None:
        self.count = 0
        self.fresh = 0
        self.open: Tensor | None = None  # [row] those still writing; None: all
        self._special = torch.zeros(
            vocabulary_size(model), dtype=torch.bool, device=device_of(model)
        )
        marks = [token for token in special_ids(model.tokenizer) if token < len(self._special)]
        self._special[marks] = True
        self._ids: Tensor | None = None
        self._past: int | None = 0
        self._prompt = 0
        self._text: Tensor | None = None  # the ids of the newest text read afresh
        # What conditions found, in this pass, and of the prompt.
        self._sensed: dict[Sense, Tensor] = {}
        self._prompted: dict[Sense, Tensor] = {}

    def begin(
        self, ids: Int[Tensor, "row position"], *, past: int, prompt: int, fresh: int | None = None
    ) -> None:
        """The pass reads `ids` after `past` others; the text's first `prompt` are its prompt.

        The last `fresh` of `ids` are read for the first time; None means all of them.
        """
        self.count += 1
        self._sensed.clear()
        self.fresh = ids.shape[1] if fresh is None else fresh
        self._ids, self._past, self._prompt = ids, past, prompt

    def see(self, ids: Int[Tensor, "row position"], past: int | None) -> None:
        """A pass reads `ids` after `past` others; None: how many is not known yet."""
        if past is None:
            self._ids, self._past = ids, None
        elif past == 0:
            text = self._text
            if text is None or not _continues(ids, text):
                self._text = text = ids.clone()
            self.begin(ids, past=0, prompt=text.shape[1])
        else:
            known = past if self._text is None else min(past, self._text.shape[1])
            self.begin(ids, past=past, prompt=known)

    def share(
        self, where: Where, schedule: Schedule | None, shape: tuple[int, ...]
    ) -> Float[Tensor, "row position"] | None:
        """How much of an edit is done at each position of the pass; None if nothing anywhere."""
        ids = self._ids
        if ids is None or tuple(ids.shape) != shape:
            raise RuntimeError(
                "the token ids of this forward pass are not known, so special tokens cannot be "
                f"left alone: {None if ids is None else tuple(ids.shape)} ids for activations of "
                f"{shape} (row, position). Call the model on ids or text, not on embeddings."
            )
        may = ~self._special[ids]
        if where == "all" and schedule is None:
            return may.float()
        if self._past is None:
            raise RuntimeError(
                "at the embeddings it is not known yet which part of the text a pass reads: an "
                "edit there acts with where='all' and no schedule. blocks.0.hook_resid_pre is the "
                "same place, and knows."
            )
        position = self._past + torch.arange(ids.shape[1], device=ids.device)
        here, first = self._reach(where, position)
        if not here.any():
            return None
        share = may * here
        return share.float() if schedule is None else share * schedule.at(position - first)

    def sense(self, sense: Sense, found: Bool[Tensor, "row position"]) -> None:
        """Keep where `sense` holds in the running pass; of a prompt, whether it holds anywhere."""
        ids = self._ids
        if ids is None or self._past is None or tuple(ids.shape) != tuple(found.shape):
            raise RuntimeError(
                "the token ids of this forward pass are not known where a condition is read; "
                "blocks.0.hook_resid_pre is the first place where they are"
            )
        found = found & ~self._special[ids]
        if sense.over == "prompt":
            position = self._past + torch.arange(ids.shape[1], device=ids.device)
            prompt = position < self._prompt
            if prompt.any():
                self._prompted[sense] = (found & prompt).any(1, keepdim=True)
            if sense not in self._prompted:
                raise RuntimeError(
                    f"{sense!r} asks about the prompt, which was read before this block began; "
                    "read it inside"
                )
            found = self._prompted[sense]
        self._sensed[sense] = found

    def holds(self, condition: Condition) -> Bool[Tensor, "row _"]:
        """Where `condition` holds in the running pass."""
        return condition.holds(self._answer)

    def _answer(self, sense: Sense) -> Bool[Tensor, "row _"]:
        if sense not in self._sensed:
            raise RuntimeError(
                f"the condition {sense!r} is read later in the model than the edit acts that "
                "waits for it; give it an SAE or a hook at the same place or before"
            )
        return self._sensed[sense]

    def _reach(
        self, where: Where, position: Int[Tensor, " position"]
    ) -> tuple[Bool[Tensor, " position"], int]:
        """At which positions an edit may act, and the first of the whole text where it may."""
        if isinstance(where, Span):
            stop = math.inf if where.stop is None else where.stop
            steps = (position - where.start) % where.step == 0
            return (position >= where.start) & (position < stop) & steps, where.start
        if where == "prompt":
            return position < self._prompt, 0
        if where == "generated":
            return position >= self._prompt, self._prompt
        if where == "last":
            # Whoever reads a text again edits it where it was edited before.
            first = max(0, self._prompt - 1)
            return position >= first, first
        return torch.ones_like(position, dtype=torch.bool), 0


def _continues(ids: Tensor, text: Tensor) -> bool:
    length = text.shape[1]
    return (
        ids.shape[0] == text.shape[0]
        and ids.shape[1] > length
        and torch.equal(ids[:, :length], text)
    )


# One hook point


@dataclass(frozen=True)
class Push:
    """Adds a vector; `instead`: and takes the activation away."""

    vector: Float[Tensor, " d"]
    instead: bool = False


@dataclass(frozen=True)
class Move:
    """Makes a value clamp(target + keep · value, low, high), along a direction.

    `sae` and `feature` say whose value; without them it is the length along `direction`.
    """

    direction: Float[Tensor, " d"]
    target: float = 0.0
    keep: float = 0.0
    low: float = -math.inf
    high: float = math.inf
    sae: SAE | None = None
    feature: int = 0


@dataclass(frozen=True)
class Turn:
    """Turns the activation by `angle`, in radians, towards a direction of length one."""

    direction: Float[Tensor, " d"]
    angle: float


Act = Push | Move | Turn


@dataclass(frozen=True)
class Term:
    """One edit in numbers: what it does, at which hook point and positions, and how much of it."""

    hook: str
    where: Where
    schedule: Schedule | None
    when: Condition | None
    act: Act

    @property
    def width(self) -> int:
        vector = self.act.vector if isinstance(self.act, Push) else self.act.direction
        return len(vector)


# What the terms of all rows add to activations [row, position, d], laid out so that a pass takes
# few operations; what is the same at every position comes as [row, 1, d].

Part = Callable[[Tensor], Tensor]


def pushes(terms: Sequence[tuple[int, Push]], rows: int, device: torch.device) -> Part:
    """The sum of each row's pushes."""
    total = torch.zeros(rows, 1, len(terms[0][1].vector), device=device)
    instead = torch.zeros(rows, 1, 1, device=device)
    for row, push in terms:
        total[row, 0] += push.vector.to(total)
        instead[row] = max(float(instead[row]), float(push.instead))
    if not instead.any():
        return lambda x: total  # noqa: ARG005
    return lambda x: total - instead * x


def moves(terms: Sequence[tuple[int, Move]], rows: int, device: torch.device) -> Part:
    """The moves of values that are encoded together: those of one SAE, or lengths along vectors."""
    rest = {"target": 0.0, "keep": 1.0, "low": -math.inf, "high": math.inf}  # changes nothing
    table = {
        name: torch.full((rows, 1, len(terms)), value, device=device)
        for name, value in rest.items()
    }
    for column, (row, move) in enumerate(terms):
        for name, values in table.items():
            values[row, 0, column] = getattr(move, name)
    directions = torch.stack([move.direction for _, move in terms]).float().to(device)
    sae = terms[0][1].sae
    encode = None if sae is None else sae.encoder([move.feature for _, move in terms])

    def part(x: Tensor) -> Tensor:
        value: Tensor = x @ directions.T if encode is None else encode(x)
        new: Tensor = (table["target"] + table["keep"] * value).clamp(table["low"], table["high"])
        moved: Tensor = (new - value) @ directions
        return moved

    return part


def turns(terms: Sequence[tuple[int, Turn]], rows: int, device: torch.device) -> Part:
    """One turn of each row that has one (spherical interpolation, as far as the direction)."""
    direction = torch.zeros(rows, 1, len(terms[0][1].direction), device=device)
    angle = torch.zeros(rows, 1, 1, device=device)
    for row, turn in terms:
        # Away from a direction is towards its opposite.
        direction[row, 0] = turn.direction.to(direction) * (1 if turn.angle >= 0 else -1)
        angle[row] = abs(turn.angle)

    def part(x: Tensor) -> Tensor:
        length = x.norm(dim=-1, keepdim=True)
        along = (x * direction).sum(-1, keepdim=True)
        across = F.normalize(direction - along * x / length.square().clamp(min=1e-12), dim=-1)
        between = torch.arccos((along / length.clamp(min=1e-12)).clamp(-1, 1))
        by = torch.minimum(angle, between)
        turned: Tensor = (by.cos() - 1) * x + by.sin() * length * across
        return turned

    return part


class Change:
    """What all arms do at one hook point, and a record of what was done.

    calls: how often the hook ran. `ratio` and `positions` tell how much it changed.
    """

    def __init__(self, rows: int) -> None:
        self.calls = 0
        self._rows = rows
        self._terms: list[tuple[int, Term]] = []
        self._width = 0
        self._parts: dict[tuple[Where, Schedule | None, Condition | None], list[Part]] = {}
        self._senses: dict[Sense, Callable[[Tensor], Tensor]] = {}
        self._restore = torch.zeros(rows, 1, 1, dtype=torch.bool)
        self._ratio = torch.zeros(rows)
        self._positions = torch.zeros(rows, 2)

    @property
    def ratio(self) -> list[float]:
        """For each arm: the mean of ‖change‖ / ‖activation‖ over the positions it changed."""
        return [float(x) for x in self._ratio / self._positions.sum(1).clamp(min=1)]

    @property
    def positions(self) -> list[tuple[int, int]]:
        """For each arm: how many positions it changed, in the first pass and after it."""
        return [(int(first), int(later)) for first, later in self._positions]

    def add(self, row: int, term: Term) -> None:
        """Let arm `row` do `term` as well."""
        if self._width and term.width != self._width:
            raise ValueError(
                f"edits at {term.hook!r} have vectors of {term.width} and {self._width} entries; "
                "all must have the length of the activations there"
            )
        self._width = term.width
        self._terms.append((row, term))

    def sense(self, sense: Sense, read: Callable[[Tensor], Tensor]) -> None:
        """Find out here where a condition holds; `read` gives what is to be above its bound."""
        self._senses[sense] = read

    def restore_norm(self, row: int) -> None:
        """Give what arm `row` has changed the length that it had."""
        self._restore[row] = True

    def settle(self, device: torch.device) -> None:
        """Lay the terms out as matrices, so that each pass takes few operations."""
        for key in dict.fromkeys((t.where, t.schedule, t.when) for _, t in self._terms):
            acts = [(r, t.act) for r, t in self._terms if (t.where, t.schedule, t.when) == key]
            pushed = [(row, act) for row, act in acts if isinstance(act, Push)]
            moved = [(row, act) for row, act in acts if isinstance(act, Move)]
            turned = [(row, act) for row, act in acts if isinstance(act, Turn)]
            parts = self._parts[key] = []
            if pushed:
                parts.append(pushes(pushed, self._rows, device))
            for sae in {id(move.sae): move.sae for _, move in moved}.values():
                same = [(row, move) for row, move in moved if move.sae is sae]
                parts.append(moves(same, self._rows, device))
            while turned:  # one of each row at a time
                now = dict(reversed(turned))
                parts.append(turns(list(now.items()), self._rows, device))
                turned = [(row, turn) for row, turn in turned if now[row] is not turn]
        self._restore = self._restore.to(device)
        self._ratio = self._ratio.to(device)
        self._positions = self._positions.to(device)

    def during(self, passes: Passes, *, measure: bool = False) -> Callable[[Tensor], Tensor | None]:
        """The hook function. `measure` keeps count of how much is changed."""

        def change(activation: Tensor) -> Tensor | None:
            self.calls += 1
            x = activation.flatten(2)  # the heads of hook_z side by side
            for sense, read in self._senses.items():
                passes.sense(sense, read(x.float()) > sense.above)
            if self._width and x.shape[-1] != self._width:
                raise ValueError(
                    f"an edit's direction has {self._width} entries, but the activations at its "
                    f"hook have {x.shape[-1]}; it belongs to another model or hook"
                )
            delta = self._delta(x.float(), passes)
            if delta is None:
                return None
            if measure:
                fresh = slice(-passes.fresh, None)  # each position counts once
                length = x[:, fresh].float().norm(dim=-1)
                ratio = delta[:, fresh].norm(dim=-1) / length.clamp(min=1e-12)
                if passes.open is not None:
                    ratio = ratio * passes.open[:, None]
                self._ratio += ratio.sum(1)
                self._positions[:, min(1, passes.count - 1)] += (ratio > 0).sum(1)
            return (x + delta.to(x.dtype)).reshape(activation.shape)

        return change

    def _delta(self, x: Float[Tensor, "row position d"], passes: Passes) -> Tensor | None:
        delta: Tensor | None = None
        for (where, schedule, when), parts in self._parts.items():
            share = passes.share(where, schedule, tuple(x.shape[:2]))
            if share is None:
                continue
            if when is not None:
                share = share * passes.holds(when)
            done = sum((part(x) for part in parts[1:]), start=parts[0](x)) * share[..., None]
            delta = done if delta is None else delta + done
        if delta is None or not self._restore.any():
            return delta
        edited = x + delta
        length, now = x.norm(dim=-1, keepdim=True), edited.norm(dim=-1, keepdim=True)
        restored = edited * (length / now.clamp(min=1e-12))
        return torch.where(self._restore & (delta != 0).any(-1, keepdim=True), restored, edited) - x


# From an edit to numbers


def _term(edit: AnyEdit, saes: Mapping[str, SAE]) -> Term:
    if edit.feature is None:
        hook = _hook_of(edit, saes)
        act = _vector_act(edit, hook, saes)
    else:
        sae = _sae_of(edit, saes)
        sae.check_feature(edit.feature)
        hook, act = sae.hook, _feature_act(edit, sae, edit.feature)
    return Term(hook, edit.where, edit.schedule, edit.when, act)


def _sensor(sense: Sense, saes: Mapping[str, SAE]) -> tuple[str, Callable[[Tensor], Tensor]]:
    """The hook point at which a condition is read, and how."""
    if isinstance(sense, Fires):
        sae = _sae_named(sense.sae, saes, sense)
        sae.check_feature(sense.feature)
        encode = sae.encoder([sense.feature])
        return sae.hook, lambda x: encode(x)[..., 0]
    assert isinstance(sense, Near)
    if sense.hook is None and not saes:
        raise ValueError(f"{sense!r} does not say where to look; pass hook=, or an SAE")
    return sense.hook or next(iter(saes.values())).hook, sense.cosine


def _feature_act(edit: AnyEdit, sae: SAE, feature: int) -> Act:
    direction = sae.W_dec[feature].detach()
    if isinstance(edit, Rotate):
        return Turn(F.normalize(direction, dim=0), math.radians(edit.strength))
    if isinstance(edit, ProjectOut):
        return Move(F.normalize(direction, dim=0))
    value = _in_values(edit, sae, feature) if isinstance(edit, MEASURED) else 0.0
    if isinstance(edit, Add | Replace):
        return Push(direction * value, instead=isinstance(edit, Replace))
    return replace(_move(edit, direction, value), sae=sae, feature=feature)


def _vector_act(edit: AnyEdit, hook: str, saes: Mapping[str, SAE]) -> Act:
    vector = torch.tensor(edit.vector)
    unit = F.normalize(vector, dim=0)
    if isinstance(edit, Rotate):
        return Turn(unit, math.radians(edit.strength))
    size = 0.0
    if isinstance(edit, MEASURED):
        size = edit.strength * (_norm_at(hook, edit, saes) if edit.unit == "norm" else 1.0)
    if isinstance(edit, Add | Replace):
        direction = unit if edit.unit == "norm" else vector
        return Push(direction * size, instead=isinstance(edit, Replace))
    return _move(edit, unit, size)


def _move(edit: AnyEdit, direction: Tensor, value: float) -> Move:
    """What becomes of the value along `direction`."""
    if isinstance(edit, Set):
        return Move(direction, target=value)
    if isinstance(edit, Floor):
        return Move(direction, keep=1.0, low=value)
    if isinstance(edit, Ceiling):
        return Move(direction, keep=1.0, high=value)
    if isinstance(edit, Scale):
        return Move(direction, keep=edit.strength)
    return Move(direction)  # Ablate, ProjectOut


def _scope(edit: AnyEdit, saes: Mapping[str, SAE]) -> str:
    """What gives the edit's target its meaning: a feature's SAE, a vector's hook point."""
    return _hook_of(edit, saes) if edit.feature is None else _sae_of(edit, saes).name


def _hook_of(edit: AnyEdit, saes: Mapping[str, SAE]) -> str:
    """Where a vector acts."""
    if edit.hook is None and not saes:
        raise ValueError(f"{edit!r} does not say where to act; pass hook=, or an SAE")
    return _sae_of(edit, saes).hook if edit.hook is None else edit.hook


def _in_values(edit: Measured, sae: SAE, feature: int) -> float:
    """The edit's strength as a value of the feature."""
    if edit.unit == "raw":
        return edit.strength
    if sae.stats is None:
        raise ValueError(
            f"{edit!r} counts in {edit.unit!r}, but SAE {sae.name!r} came without statistics; "
            "give the strength in unit='raw'"
        )
    if edit.unit == "peak":
        peak = float(sae.stats.peak[feature])
        if peak == 0:
            raise ValueError(
                f"feature {feature} of SAE {sae.name!r} never fired on the corpus, so it has no "
                "peak; give the strength in unit='norm' or 'raw'"
            )
        return edit.strength * peak
    length = float(sae.W_dec[feature].norm())
    return edit.strength * sae.stats.norm / length if length else 0.0


def _norm_at(hook: str, edit: Measured, saes: Mapping[str, SAE]) -> float:
    for sae in saes.values():
        if sae.hook == hook and sae.stats is not None:
            return sae.stats.norm
    raise ValueError(
        f"{edit!r} counts in 'norm', but no SAE with statistics reads {hook!r}; "
        "give the strength in unit='raw'"
    )


def _sae_of(edit: AnyEdit, saes: Mapping[str, SAE]) -> SAE:
    return _sae_named(edit.sae, saes, edit)


def _sae_named(name: str | None, saes: Mapping[str, SAE], wants: object) -> SAE:
    if not saes:
        raise ValueError(f"{wants!r} names a feature, so it needs an SAE")
    if name is None:
        return next(iter(saes.values()))
    if name not in saes:
        raise ValueError(f"there is no SAE {name!r}; there are {', '.join(map(repr, saes))}")
    return saes[name]


def _check_conflicts(edits: Sequence[AnyEdit], saes: Mapping[str, SAE]) -> None:
    """Two edits that each say what becomes of the same thing cannot both be obeyed."""
    for one, two in combinations([edit for edit in edits if edit.on], 2):
        if _apart(one, two):
            continue
        if isinstance(one, Replace) and isinstance(two, Replace):
            against = _place(one, saes) == _place(two, saes)
        else:
            same = one.target == two.target and _scope(one, saes) == _scope(two, saes)
            against = same and isinstance(one, DECIDING) and isinstance(two, DECIDING)
            if against and {type(one), type(two)} == {Floor, Ceiling}:
                floor, ceiling = (one, two) if isinstance(one, Floor) else (two, one)
                against = _asked(floor, saes) > _asked(ceiling, saes)
        if against:
            raise ValueError(
                f"{one!r} and {two!r} contradict each other; keep one, or let them act at "
                "different places (where='prompt' and where='generated', or two spans)"
            )


def _apart(one: AnyEdit, two: AnyEdit) -> bool:
    """Whether two edits plainly never act on the same token."""
    if {one.where, two.where} == {"prompt", "generated"}:
        return True
    if one.when is not None and two.when is not None and ~one.when == two.when:
        return True
    if isinstance(one.where, Span) and isinstance(two.where, Span):
        first, second = sorted((one.where, two.where), key=lambda span: span.start)
        return first.stop is not None and first.stop <= second.start
    return False


def _place(edit: AnyEdit, saes: Mapping[str, SAE]) -> str:
    """The hook point where an edit acts."""
    return _hook_of(edit, saes) if edit.feature is None else _sae_of(edit, saes).hook


def _asked(edit: AnyEdit, saes: Mapping[str, SAE]) -> float:
    """The value that an edit asks for, in the activation's own units."""
    assert isinstance(edit, MEASURED)
    if edit.feature is not None:
        return _in_values(edit, _sae_of(edit, saes), edit.feature)
    size = _norm_at(_hook_of(edit, saes), edit, saes) if edit.unit == "norm" else 1.0
    return edit.strength * size
