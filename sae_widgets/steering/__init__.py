"""Changing what a model writes: edits, the hooks that apply them, and runs under them."""

from sae_widgets.steering.edits import Ablate, Add, Edit, Scale, Set, edit_from_json
from sae_widgets.steering.generation import Arm, Run, generate
from sae_widgets.steering.hooks import steering

__all__ = [
    "Ablate",
    "Add",
    "Arm",
    "Edit",
    "Run",
    "Scale",
    "Set",
    "edit_from_json",
    "generate",
    "steering",
]
