"""A receipt: for every edit of a run, what was asked for and what was found."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from sae_widgets.model import Model
from sae_widgets.steering.edits import AnyEdit, Ceiling, Floor, Set, Target
from sae_widgets.steering.effects import read
from sae_widgets.steering.generation import Run, check_run
from sae_widgets.steering.terms import SAEs, asked, by_name, proof


@dataclass(frozen=True)
class Entry:
    """What became of the value that an edit is about, over the tokens at which it acted."""

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
        calls = f"hooks ran {run.prefill} × on the prompt and {run.steps} × while writing"
        lines = [
            f"{run.model['name']} ({run.model['dtype']}, weights {run.model['weights']}), "
            f"seed {run.seed}, temperature {run.temperature:g}",
            f"{calls}; {_shared(run)}",
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

    Each edit is measured at the tokens where the activations differ from those without it. An arm
    that is a control measures the same values, which it should leave almost alone.
    """
    check_run(model, sae, run)
    saes = by_name(sae)
    entries = []
    for row, arm in enumerate(run.arms):
        edits = [edit for edit in arm.edits if edit.on]
        ids = [*run.ids, *run.tokens[row][:-1]]
        gauges = [proof(edit, saes) for edit in edits]
        without = [replace(arm, edits=tuple(e for e in edits if e is not edit)) for edit in edits]
        hooks = {each.hook for each in gauges}
        seen = read(model, saes, ids, [arm, *without], prompt=len(run.ids), hooks=hooks)
        for place, (edit, each) in enumerate(zip(edits, gauges, strict=True), start=1):
            before, after = seen.before[each.hook], seen.after[each.hook]
            moved = (after[0] - after[place]).norm(dim=-1)
            acted = moved > 1e-5 * before[0].norm(dim=-1)  # more than rounding
            wants = isinstance(edit, Set | Target | Floor | Ceiling)
            with torch.no_grad():
                old, new = each.read(before[0, acted]), each.read(after[0, acted])
            entries.append(
                Entry(
                    arm=arm.name,
                    edit=edit,
                    tokens=int(acted.sum()),
                    asked=asked(edit, saes) if wants else None,
                    before=float(old.mean()),
                    found=float(new.mean()),
                )
            )
    return Receipt(run, tuple(entries))


def _shared(run: Run) -> str:
    if not run.read_from:
        return "every block read the prompt for every arm"
    blocks = "block" if run.read_from == 1 else f"{run.read_from} blocks"
    return f"the first {blocks} read the prompt once for all arms"
