"""Train sparse autoencoders on a model's activations, and measure what came out."""

from sae_widgets.training.activations import Rows, Stream, collect
from sae_widgets.training.from_texts import train, train_several
from sae_widgets.training.objectives import BatchTopK, Matryoshka, Objective, TopK
from sae_widgets.training.quality import Fidelity, Recovery, fidelity, recovery, statistics
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.trainer import SAETrainer, fit

__all__ = [
    "BatchTopK",
    "Fidelity",
    "Matryoshka",
    "Objective",
    "Recipe",
    "Recovery",
    "Rows",
    "SAETrainer",
    "Stream",
    "TopK",
    "collect",
    "fidelity",
    "fit",
    "recovery",
    "statistics",
    "train",
    "train_several",
]
