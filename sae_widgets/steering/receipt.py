"""A receipt: for every edit of a run, what was asked for and what was found."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from sae_widgets.model import Model
from sae_widgets.steering.edits import AnyEdit, Ceiling, Floor, Set, Target
from sae_widgets.steering.effects import read
from sae_widgets.steering.generation import Run
from sae_widgets.steering.terms import SAEs, asked, by_name, gauge


@dataclass(frozen=True)
class Entry:
    """What became of the value that an edit is about, over the tokens at which the arm acted."""

    arm: str
    edit: AnyEdit
    tokens: int
    """How many these are."""
    asked: float | None
    """The value that a Set, Target, Floor or Ceiling asks for; None for other edits."""
    before: float
    """The mean value ahead of the edits."""
    found: float
    """The mean value as the SAE finds it again in the edited activations."""


@dataclass(frozen=True, repr=False)
class Receipt:
    """Proof of what a run did to the activations. Values are in the features' own units."""

    run: Run
    entries: tuple[Entry, ...]

    def __repr__(self) -> str:
        run = self.run
        lines = [
            f"{run.model['name']} ({run.model['dtype']}, weights {run.model['weights']}), "
            f"seed {run.seed}, temperature {run.temperature:g}",
            f"hooks ran {run.prefill} × on the prompt and {run.steps} × while writing; "
            "what the SAE does not explain was kept",
        ]
        for entry in self.entries:
            wanted = "" if entry.asked is None else f", {entry.asked:.3g} asked for"
            value = f"value {entry.before:.3g} → {entry.found:.3g}{wanted}"
            if not entry.tokens:
                value = "it found no token to act on"
            lines.append(f"  {entry.arm}: {entry.edit!r} at {entry.tokens} tokens: {value}")
        return "\n".join(lines)


def receipt(model: Model, sae: SAEs, run: Run) -> Receipt:
    """Read what each arm of a run wrote once more, under its edits, and measure their values.

    What is counted are the tokens at which the run itself recorded a change. An arm that is a
    control measures the same values, which it should leave almost alone.
    """
    saes = by_name(sae)
    entries = []
    for row, arm in enumerate(run.arms):
        edits = [edit for edit in arm.edits if edit.on]
        gauges = [gauge(edit, saes) for edit in edits]
        ids = [*run.ids, *run.tokens[row][:-1]]
        hooks = {each.hook for each in gauges}
        seen = read(model, saes, ids, [arm], prompt=len(run.ids), hooks=hooks) if edits else None
        acted = torch.tensor(run.moved[row]) > 0
        for edit, each in zip(edits, gauges, strict=True):
            assert seen is not None
            before = each.read(seen.before[each.hook][0, acted])
            found = each.read(seen.after[each.hook][0, acted])
            wants = isinstance(edit, Set | Target | Floor | Ceiling)
            entries.append(
                Entry(
                    arm=arm.name,
                    edit=edit,
                    tokens=int(acted.sum()),
                    asked=asked(edit, saes) if wants else None,
                    before=float(before.mean()),
                    found=float(found.mean()),
                )
            )
    return Receipt(run, tuple(entries))
