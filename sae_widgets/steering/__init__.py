"""Changing what a model writes: edits, the hooks that apply them, and runs under them."""

from sae_widgets.steering.arms import Arm, controls
from sae_widgets.steering.conditions import Fires, Near
from sae_widgets.steering.edits import (
    Ablate,
    Add,
    Ceiling,
    Edit,
    Floor,
    ProjectOut,
    Replace,
    Rotate,
    Scale,
    Set,
    Span,
    Target,
    edit_from_json,
)
from sae_widgets.steering.generation import Run, generate
from sae_widgets.steering.hooks import steering
from sae_widgets.steering.schedules import Decay, Pulse, Ramp, Values

__all__ = [
    "Ablate",
    "Add",
    "Arm",
    "Ceiling",
    "Decay",
    "Edit",
    "Fires",
    "Floor",
    "Near",
    "ProjectOut",
    "Pulse",
    "Ramp",
    "Replace",
    "Rotate",
    "Run",
    "Scale",
    "Set",
    "Span",
    "Target",
    "Values",
    "controls",
    "edit_from_json",
    "generate",
    "steering",
]
