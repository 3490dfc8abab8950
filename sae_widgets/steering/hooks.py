"""The hooks that apply edits: one function for each hook point, compiled from all arms.

An arm is a list of edits; the arms are the rows of one batch. All changes at a hook point are
computed from the same unedited activation and summed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

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
from sae_widgets.steering.edits import WHERE, Ablate, Add, AnyEdit, Scale, Set, Where
from sae_widgets.tokens import special_ids

SAEs = SAE | Mapping[str, SAE] | None
"""One SAE, or several by name (an edit that names none means the first), or none for vectors."""


@contextmanager
def steering(model: Model, sae: SAEs, edits: Sequence[AnyEdit]) -> Iterator[None]:
    """Apply `edits` to every forward pass that this block makes, however it is made.

    A text is met when the model reads it afresh, and all of it is the prompt. What continues it is
    generated: tokens read on top of a key-value cache, and tokens after the prompt when the same
    ids are read again with more behind them. The model is locked while the block runs.
    """
    compiled = compile_arms(model, sae, [edits])
    running = Passes(model)
    with lock(model), watched(model, running.see):
        functions = {hook: change.during(running) for hook, change in compiled.items()}
        with attached(model, functions):
            yield
    for hook, change in compiled.items():
        if running.count and not change.calls:
            raise RuntimeError(silent_hook(hook))


def compile_arms(model: Model, sae: SAEs, arms: Sequence[Sequence[AnyEdit]]) -> dict[str, Change]:
    """Turn the edits of each arm into one `Change` for each hook point they touch."""
    saes = by_name(sae)
    changes: dict[str, Change] = {}
    with torch.no_grad():
        for row, edits in enumerate(arms):
            _check_conflicts(edits, saes)
            for edit in edits:
                if edit.on:
                    term = _term(edit, saes)
                    check_hook(model, term.hook)
                    changes.setdefault(term.hook, Change(len(arms))).add(row, term)
        for change in changes.values():
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

    def begin(
        self, ids: Int[Tensor, "row position"], *, past: int, prompt: int, fresh: int | None = None
    ) -> None:
        """The pass reads `ids` after `past` others; the text's first `prompt` are its prompt.

        The last `fresh` of `ids` are read for the first time; None means all of them.
        """
        self.count += 1
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
            self.begin(ids, past=past, prompt=past)

    def mask(self, where: Where, shape: tuple[int, ...]) -> Bool[Tensor, "row position"] | None:
        """Which positions of the pass an edit `where` may change; None if there is none."""
        ids = self._ids
        if ids is None or tuple(ids.shape) != shape:
            raise RuntimeError(
                "the token ids of this forward pass are not known, so special tokens cannot be "
                f"left alone: {None if ids is None else tuple(ids.shape)} ids for activations of "
                f"{shape} (row, position). Call the model on ids or text, not on embeddings."
            )
        may = ~self._special[ids]
        if where == "all":
            return may
        if self._past is None:
            raise RuntimeError(
                f"at the embeddings it is not known yet which tokens are {where!r}: an edit there "
                "acts with where='all'. blocks.0.hook_resid_pre is the same place, and knows."
            )
        boundary = self._prompt - self._past
        if boundary >= ids.shape[1]:  # the pass reads the prompt only
            return may if where == "prompt" else None
        if boundary <= 0:  # generated tokens only
            return may if where == "generated" else None
        prompt = torch.arange(ids.shape[1], device=ids.device) < boundary
        return may & (prompt if where == "prompt" else ~prompt)


def _continues(ids: Tensor, text: Tensor) -> bool:
    length = text.shape[1]
    return (
        ids.shape[0] == text.shape[0]
        and ids.shape[1] > length
        and torch.equal(ids[:, :length], text)
    )


# One hook point


@dataclass(frozen=True)
class Term:
    """One edit in numbers. It adds `push`, or (`target` + `factor` · value) · `direction`.

    `sae` and `feature` say whose value; without them it is the length along `direction`.
    """

    hook: str
    where: Where
    push: Tensor | None = None
    direction: Tensor | None = None
    target: float = 0.0
    factor: float = 0.0
    sae: SAE | None = None
    feature: int = 0


@dataclass(frozen=True)
class Group:
    """Terms about values that are encoded together: (target + factor · values) @ directions."""

    values: Callable[[Tensor], Tensor]
    target: Float[Tensor, "row n"]
    factor: Float[Tensor, "row n"]
    directions: Float[Tensor, "n d"]


class Change:
    """What all arms do at one hook point, and a record of what was done.

    calls: how often the hook ran. `ratio` and `positions` tell how much it changed.
    """

    def __init__(self, rows: int) -> None:
        self.calls = 0
        self._rows = rows
        self._terms: list[tuple[int, Term]] = []
        self._width = 0
        self._pushes: dict[Where, Tensor] = {}
        self._groups: dict[Where, list[Group]] = {}
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
        vector = term.push if term.push is not None else term.direction
        assert vector is not None
        if self._width and len(vector) != self._width:
            raise ValueError(
                f"edits at {term.hook!r} have vectors of {len(vector)} and {self._width} entries; "
                "all must have the length of the activations there"
            )
        self._width = len(vector)
        self._terms.append((row, term))

    def settle(self, device: torch.device) -> None:
        """Lay the terms out as matrices, so that each pass takes few operations."""
        for where in WHERE:
            here = [(row, term) for row, term in self._terms if term.where == where]
            pushes = [(row, term.push) for row, term in here if term.push is not None]
            if pushes:
                total = torch.zeros(self._rows, self._width, device=device)
                for row, push in pushes:
                    total[row] += push.to(total)
                self._pushes[where] = total
            valued = [(row, term) for row, term in here if term.direction is not None]
            saes = {id(term.sae): term.sae for _, term in valued}
            self._groups[where] = [
                _group([(row, term) for row, term in valued if term.sae is sae], self._rows, device)
                for sae in saes.values()
            ]
        self._ratio = self._ratio.to(device)
        self._positions = self._positions.to(device)

    def during(self, passes: Passes, *, measure: bool = False) -> Callable[[Tensor], Tensor | None]:
        """The hook function. `measure` keeps count of how much is changed."""

        def change(activation: Tensor) -> Tensor | None:
            self.calls += 1
            x = activation.flatten(2)  # the heads of hook_z side by side
            if x.shape[-1] != self._width:
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
        for where in WHERE:
            push, groups = self._pushes.get(where), self._groups[where]
            if push is None and not groups:
                continue
            mask = passes.mask(where, tuple(x.shape[:2]))
            if mask is None:
                continue
            part: Tensor | None = None if push is None else push[:, None]
            for group in groups:
                amount = group.target[:, None] + group.factor[:, None] * group.values(x)
                moved = amount @ group.directions
                part = moved if part is None else part + moved
            assert part is not None
            part = part * mask[..., None]
            delta = part if delta is None else delta + part
        return delta


def _group(terms: Sequence[tuple[int, Term]], rows: int, device: torch.device) -> Group:
    target = torch.zeros(rows, len(terms), device=device)
    factor = torch.zeros(rows, len(terms), device=device)
    for column, (row, term) in enumerate(terms):
        target[row, column] = term.target
        factor[row, column] = term.factor
    directions = torch.stack([term.direction for _, term in terms if term.direction is not None])
    directions = directions.float().to(device)
    sae = terms[0][1].sae
    if sae is None:
        return Group(lambda x: x @ directions.T, target, factor, directions)
    encode = sae.encoder([term.feature for _, term in terms])
    return Group(encode, target, factor, directions)


# From an edit to numbers


def _term(edit: AnyEdit, saes: Mapping[str, SAE]) -> Term:
    if edit.feature is None:
        return _vector_term(edit, saes)
    sae = _sae_of(edit, saes)
    sae.check_feature(edit.feature)
    direction = sae.W_dec[edit.feature].detach()
    if isinstance(edit, Add):
        push = direction * _in_values(edit, sae, edit.feature)
        return Term(sae.hook, edit.where, push=push)
    target, factor = 0.0, -1.0
    if isinstance(edit, Set):
        target = _in_values(edit, sae, edit.feature)
    elif isinstance(edit, Scale):
        factor = edit.strength - 1
    return Term(
        sae.hook,
        edit.where,
        direction=direction,
        target=target,
        factor=factor,
        sae=sae,
        feature=edit.feature,
    )


def _scope(edit: AnyEdit, saes: Mapping[str, SAE]) -> str:
    """What gives the edit's target its meaning: a feature's SAE, a vector's hook point."""
    return _hook_of(edit, saes) if edit.feature is None else _sae_of(edit, saes).name


def _hook_of(edit: AnyEdit, saes: Mapping[str, SAE]) -> str:
    """Where a vector acts."""
    if edit.hook is None and not saes:
        raise ValueError(f"{edit!r} does not say where to act; pass hook=, or an SAE")
    return _sae_of(edit, saes).hook if edit.hook is None else edit.hook


def _vector_term(edit: AnyEdit, saes: Mapping[str, SAE]) -> Term:
    hook = _hook_of(edit, saes)
    vector = torch.tensor(edit.vector)
    unit = F.normalize(vector, dim=0)
    size = 1.0
    if isinstance(edit, Add | Set) and edit.unit == "norm":
        size = _norm_at(hook, edit, saes)
    if isinstance(edit, Add):
        direction = unit if edit.unit == "norm" else vector
        return Term(hook, edit.where, push=direction * edit.strength * size)
    target, factor = 0.0, -1.0
    if isinstance(edit, Set):
        target = edit.strength * size
    elif isinstance(edit, Scale):
        factor = edit.strength - 1
    return Term(hook, edit.where, direction=unit, target=target, factor=factor)


def _in_values(edit: Add | Set, sae: SAE, feature: int) -> float:
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


def _norm_at(hook: str, edit: Add | Set, saes: Mapping[str, SAE]) -> float:
    for sae in saes.values():
        if sae.hook == hook and sae.stats is not None:
            return sae.stats.norm
    raise ValueError(
        f"{edit!r} counts in 'norm', but no SAE with statistics reads {hook!r}; "
        "give the strength in unit='raw'"
    )


def _sae_of(edit: AnyEdit, saes: Mapping[str, SAE]) -> SAE:
    if not saes:
        raise ValueError(f"{edit!r} names a feature, so it needs an SAE")
    if edit.sae is None:
        return next(iter(saes.values()))
    if edit.sae not in saes:
        raise ValueError(f"there is no SAE {edit.sae!r}; there are {', '.join(map(repr, saes))}")
    return saes[edit.sae]


def _check_conflicts(edits: Sequence[AnyEdit], saes: Mapping[str, SAE]) -> None:
    """Two edits that each say what a feature's value becomes cannot both be obeyed."""
    decided: list[AnyEdit] = []
    for edit in edits:
        if not edit.on or not isinstance(edit, Set | Scale | Ablate):
            continue
        for other in decided:
            same = edit.target == other.target and _scope(edit, saes) == _scope(other, saes)
            if same and (edit.where == other.where or "all" in (edit.where, other.where)):
                raise ValueError(
                    f"{other!r} and {edit!r} contradict each other; keep one, or let them act at "
                    "different places (where='prompt' and where='generated')"
                )
        decided.append(edit)
