"""What a session records for a panel: planned, checked, then carried out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from sae_widgets.model import Model
from sae_widgets.sae import SAE
from sae_widgets.steering import Arm, Target
from sae_widgets.steering.edits import AnyEdit
from sae_widgets.steering.effects import Strong, distance, scaled
from sae_widgets.steering.hooks import compile_arms
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.record import STRENGTHS, Plan, record, seconds
from sae_widgets.tokens import pieces
from sae_widgets.widgets.recording import Recording
from sae_widgets.widgets.steering import check_request

AROUND = (-1.0, -0.5, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""× the strength of an edit: where it is recorded, if nobody says."""


class Recorder:
    """Records on a model with its SAEs; a plan goes with the recording that it will make."""

    def __init__(self, model: Model, saes: dict[str, SAE], prompts: Prompts) -> None:
        self._model = model
        self._saes = saes
        self._prompts = prompts

    def planned(self, prompt: str, plan: Plan) -> Recording:
        """What a plan will make, before anything is written."""
        given = tuple(piece.text for piece in pieces(self._model.tokenizer, plan.ids))
        return Recording(prompt, given, plan.length, plan.temperature, tuple(plan.takes))

    def check(self, planned: Recording, plan: Plan, before: Recording | None) -> None:
        """Raise if a plan cannot be carried out to its end, or there is no room beside `before`."""
        settings = {"length": plan.length, "temperature": plan.temperature, "seed": plan.seeds[0]}
        check_request({"id": 0, "prompt": planned.prompt, "edits": [], "control": "", **settings})
        for edit, strengths in zip(plan.strong, plan.strengths, strict=True):
            strongest = replace(edit, strength=max(strengths, key=abs), on=True)
            compile_arms(self._model, self._saes, [Arm("strongest", (strongest,))])
        if before is not None:
            before.check_room(planned, plan)

    def lasting(self, plan: Plan, check: Callable[[], None] = lambda: None) -> str:
        """How long a plan will take, in words."""
        return _duration(seconds(self._model, self._saes, plan, check))

    def takes(
        self,
        planned: Recording,
        plan: Plan,
        tell: Callable[[float], None],
        check: Callable[[], None] = lambda: None,
    ) -> Iterator[Recording]:
        """What a plan records, take by take."""
        prompts = self._prompts
        for take in record(self._model, self._saes, plan, check=check, tell=tell, prompts=prompts):
            yield replace(planned, takes=(take,))

    def estimated(
        self, planned: Recording, plan: Plan, before: Recording | None, check: Callable[[], None]
    ) -> str:
        """How much a plan is, in words, beside what was recorded `before`."""
        self.check(planned, plan, before)
        told = f"{plan.told} in the notebook"
        if before is not None and not before.goes_with(planned):
            told += ", in place of what is recorded with another prompt or settings"
        return f"{told}, about {self.lasting(plan, check)}"


def around(edit: AnyEdit) -> list[float]:
    """The strengths at which an edit is recorded, if nobody says."""
    if not isinstance(edit, Strong) or not distance(edit):
        return list(STRENGTHS)
    least = 0.0 if isinstance(edit, Target) else -math.inf
    found = (scaled(edit, factor).strength for factor in AROUND if factor >= least)
    return [float(f"{strength:.4g}") for strength in found]


def nearest(edit: Strong, strengths: Sequence[float]) -> Strong:
    """The edit, off, at the recorded strength that is closest to its own."""
    closest = min(strengths, key=lambda strength: abs(strength - edit.strength))
    return replace(edit, strength=closest, on=False)


def nature(edit: AnyEdit) -> dict[str, Any]:
    """An edit without how strong it is, and whether it is on."""
    return {**edit.to_json(), "strength": None, "on": True}


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
