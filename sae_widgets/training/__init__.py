"""Train sparse autoencoders on a model's activations, and measure what came out."""

from sae_widgets.training.activations import Rows, Stream, collect
from sae_widgets.training.directions import (
    Geometry,
    Heads,
    Stability,
    geometry,
    head_attribution,
    stability,
)
from sae_widgets.training.from_texts import train, train_several
from sae_widgets.training.named import read_objective
from sae_widgets.training.objectives import BatchTopK, Matryoshka, Objective, TopK
from sae_widgets.training.penalties import L1, Gated, JumpReLU, TanhJumpReLU
from sae_widgets.training.probing import Probe, probe
from sae_widgets.training.quality import (
    Fidelity,
    Quality,
    Recovery,
    fidelity,
    recovery,
    statistics,
)
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.texts import open_texts
from sae_widgets.training.trainer import SAETrainer, fit

__all__ = [
    "L1",
    "BatchTopK",
    "Fidelity",
    "Gated",
    "Geometry",
    "Heads",
    "JumpReLU",
    "Matryoshka",
    "Objective",
    "Probe",
    "Quality",
    "Recipe",
    "Recovery",
    "Rows",
    "SAETrainer",
    "Stability",
    "Stream",
    "TanhJumpReLU",
    "TopK",
    "collect",
    "fidelity",
    "fit",
    "geometry",
    "head_attribution",
    "open_texts",
    "probe",
    "read_objective",
    "recovery",
    "stability",
    "statistics",
    "train",
    "train_several",
]
