"""Train sparse autoencoders on a model's activations, and measure what came out."""

from sae_widgets.training.activations import Rows, Stream, collect
from sae_widgets.training.objectives import BatchTopK, Matryoshka
from sae_widgets.training.quality import Fidelity, Recovery, fidelity, recovery, statistics
from sae_widgets.training.trainer import Recipe, SAETrainer, train

__all__ = [
    "BatchTopK",
    "Fidelity",
    "Matryoshka",
    "Recipe",
    "Recovery",
    "Rows",
    "SAETrainer",
    "Stream",
    "collect",
    "fidelity",
    "recovery",
    "statistics",
    "train",
]
