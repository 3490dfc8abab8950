"""Arms: ways to run the model side by side, and the controls that an effect is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, no_type_check

from sae_widgets.steering.edits import AnyEdit

Control = Literal["random", "flipped", "neighbour", "placebo"]
"""What stands in for every direction of an arm's edits, at the same length:

random: a direction drawn with the arm's seed. flipped: the opposite one. neighbour: that of the
most alike other feature of the SAE. placebo: the most alike one of an SAE that is a placebo.
"""
CONTROLS: tuple[Control, ...] = ("random", "flipped", "neighbour", "placebo")


# It checks what it is given itself, with messages for people (see `edits`).
@no_type_check
@dataclass(frozen=True)
class Arm:
    """A way to run the model: a list of edits with a name. No edits: the model as it is.

    restore_norm: what is edited keeps its length. control: the arm does as its edits say, at the
    same tokens and just as far, but along other directions; `seed` draws the random ones.
    """

    name: str
    edits: tuple[AnyEdit, ...] = ()
    restore_norm: bool = False
    control: Control | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "edits", tuple(self.edits))
        if self.control is not None and self.control not in CONTROLS:
            known = ", ".join(map(repr, CONTROLS))
            raise ValueError(f"a control is one of {known}; got {self.control!r}")


def controls(arm: Arm, *kinds: Control) -> tuple[Arm, ...]:
    """Arms that do what `arm` does along other directions: one of each kind, named after it."""
    return tuple(
        Arm(f"{arm.name}, {kind}", arm.edits, arm.restore_norm, kind, arm.seed) for kind in kinds
    )
