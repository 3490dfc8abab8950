"""The hooks that apply edits: one function for each hook point, compiled from all arms.

The arms are the rows of one batch. All changes at a hook point are computed from the same unedited
activation and summed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_widgets.model import (
    Model,
    attached,
    check_hook,
    device_of,
    lock,
    restoring,
    silent_hook,
    vocabulary_size,
    watched,
)
from sae_widgets.steering.acts import Part, parts
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.conditions import Condition, Sense
from sae_widgets.steering.edits import AnyEdit, Span, Where
from sae_widgets.steering.schedules import Schedule
from sae_widgets.steering.terms import SAEs, Sensor, Term, by_name, sensor, terms
from sae_widgets.tokens import special_ids


@restoring
def steering(
    model: Model, sae: SAEs, edits: Sequence[AnyEdit], *, restore_norm: bool = False
) -> Iterator[None]:
    """Apply `edits` to every forward pass that this block makes, however it is made.

    With `restore_norm`, activations keep the length they had.

    A text is met when the model reads it afresh, and all of it is the prompt. What continues it is
    generated: tokens read on top of a key-value cache, and tokens after the prompt when the same
    ids are read again with more behind them. The model is locked while the block runs.
    """
    compiled = compile_arms(model, sae, [Arm("steered", tuple(edits), restore_norm)])
    running = Passes(model)
    with lock(model), watched(model, running.see):
        functions = {hook: change.during(running) for hook, change in compiled.items()}
        with attached(model, functions):
            yield
    for hook, change in compiled.items():
        if running.count and not change.calls:
            raise RuntimeError(silent_hook(hook))


def compile_arms(
    model: Model, sae: SAEs, arms: Sequence[Arm], *, until: Condition | None = None
) -> dict[str, Change]:
    """Turn the edits of all arms into one `Change` for each hook point that they touch.

    What `until` asks about is found out as well.
    """
    saes = by_name(sae)
    changes: dict[str, Change] = {}

    def change(hook: str, width: int) -> Change:
        if hook not in changes:
            check_hook(model, hook)
            changes[hook] = Change(hook, len(arms))
        if RESIDUAL.fullmatch(hook) and width != model.cfg.d_model:
            raise ValueError(_misfit(hook, width, model.cfg.d_model))
        return changes[hook]

    def feel(condition: Condition | None) -> None:
        for sense in () if condition is None else condition.senses():
            found = sensor(sense, saes)
            change(found.hook, found.width).sense(sense, found)

    with torch.no_grad():
        feel(until)
        for row, arm in enumerate(arms):
            for term in terms(arm, saes):
                change(term.hook, term.width).add(row, term)
                feel(term.when)
        for each in changes.values():
            for row, arm in enumerate(arms):
                if arm.restore_norm:
                    each.restore_norm(row)
            each.settle(device_of(model))
    return changes


RESIDUAL = re.compile(r"hook_embed|blocks\.\d+\.hook_(resid_(pre|mid|post)|attn_out|mlp_out)")
"""Hook points of which it is known without a pass that their activations have `d_model` entries."""


def _misfit(hook: str, width: int, found: int) -> str:
    return (
        f"an edit or a condition at {hook!r} has {width} entries, but the activations there have "
        f"{found}; it belongs to another model or hook"
    )


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


class Change:
    """What all arms do at one hook point, and a record of what was done.

    calls: how often the hook ran. `moved` tells how far it moved activations.
    """

    def __init__(self, hook: str, rows: int) -> None:
        self.calls = 0
        self._hook = hook
        self._rows = rows
        self._terms: list[tuple[int, Term]] = []
        self._width = 0
        self._parts: dict[tuple[Where, Schedule | None, Condition | None], list[Part]] = {}
        self._senses: dict[Sense, Sensor] = {}
        self._restore = torch.zeros(rows, 1, 1, dtype=torch.bool)
        self._moved: list[Tensor] = []

    @property
    def moved(self) -> Float[Tensor, "row position"]:
        """‖change‖ / ‖activation‖ at every token that was read, since it is measured."""
        return torch.cat(self._moved, dim=1).cpu() if self._moved else torch.zeros(self._rows, 0)

    @property
    def overflowed(self) -> set[int]:
        """The arms whose activations the newest measured pass moved beyond all numbers."""
        finite = self._moved[-1].isfinite()
        return set() if finite.all() else set((~finite).any(1).nonzero()[:, 0].tolist())

    def add(self, row: int, term: Term) -> None:
        """Let arm `row` do `term` as well."""
        self._check_width(term.width)
        self._terms.append((row, term))

    def sense(self, sense: Sense, found: Sensor) -> None:
        """Find out here where a condition holds, as `found` reads it."""
        self._check_width(found.width)
        self._senses[sense] = found

    def _check_width(self, width: int) -> None:
        if self._width and width != self._width:
            raise ValueError(
                f"edits and conditions at {self._hook!r} have vectors of {width} and "
                f"{self._width} entries; all must have the length of the activations there"
            )
        self._width = width

    def restore_norm(self, row: int) -> None:
        """Give what arm `row` has changed the length that it had."""
        self._restore[row] = True

    def settle(self, device: torch.device) -> None:
        """Lay the terms out as matrices, so that each pass takes few operations."""
        for key in dict.fromkeys((t.where, t.schedule, t.when) for _, t in self._terms):
            acts = [(r, t.act) for r, t in self._terms if (t.where, t.schedule, t.when) == key]
            self._parts[key] = parts(acts, self._rows, device)
        self._restore = self._restore.to(device)

    def spares(self, prompt: int) -> bool:
        """Whether nothing is done or found out here at the first `prompt` tokens of a text."""
        return not any(sense.over == "prompt" for sense in self._senses) and all(
            where == "generated" or (isinstance(where, Span) and where.start >= prompt)
            for where, _, _ in self._parts
        )

    def skip(self, tokens: int) -> None:
        """Keep on record that `tokens` were read elsewhere, and not moved."""
        self._moved.append(torch.zeros(self._rows, tokens, device=self._restore.device))

    def during(self, passes: Passes, *, measure: bool = False) -> Callable[[Tensor], Tensor | None]:
        """The hook function. `measure` keeps a record of how far it moves activations."""

        def change(activation: Tensor) -> Tensor | None:
            self.calls += 1
            x = activation.flatten(2)  # the heads of hook_z side by side
            if self._width and x.shape[-1] != self._width:
                raise ValueError(_misfit(self._hook, self._width, x.shape[-1]))
            for sense, found in self._senses.items():
                passes.sense(sense, found.read(x.float()) > sense.above)
            delta = self._delta(x.float(), passes)
            if measure:
                self._measure(x, delta, passes)
            return None if delta is None else (x + delta.to(x.dtype)).reshape(activation.shape)

        return change

    def _measure(self, x: Tensor, delta: Tensor | None, passes: Passes) -> None:
        fresh = slice(-passes.fresh, None)  # each position counts once
        x = x[:, fresh].float()
        ratio = torch.zeros_like(x[..., 0])
        if delta is not None:
            ratio = delta[:, fresh].norm(dim=-1) / x.norm(dim=-1).clamp(min=1e-12)
        if passes.open is not None:
            ratio = ratio * passes.open[:, None]
        self._moved.append(ratio)

    def _delta(self, x: Float[Tensor, "row position d"], passes: Passes) -> Tensor | None:
        delta: Tensor | None = None
        for (where, schedule, when), acts in self._parts.items():
            share = passes.share(where, schedule, tuple(x.shape[:2]))
            if share is None:
                continue
            if when is not None:
                share = share * passes.holds(when)
            done = sum((part(x) for part in acts[1:]), start=acts[0](x)) * share[..., None]
            delta = done if delta is None else delta + done
        if delta is None or not self._restore.any():
            return delta
        edited = x + delta
        length, now = x.norm(dim=-1, keepdim=True), edited.norm(dim=-1, keepdim=True)
        restored = edited * (length / now.clamp(min=1e-12))
        return torch.where(self._restore & (delta != 0).any(-1, keepdim=True), restored, edited) - x
