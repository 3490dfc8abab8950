"""The Python halves of the widgets: records and functions in, traits out. They know no model."""

from sae_widgets.widgets.heatmap import FeatureRow, Heatmap, HeatmapView
from sae_widgets.widgets.steering import Steering
from sae_widgets.widgets.training import Training
from sae_widgets.widgets.worker import Cancelled, Inline, Replaced, Status, Worker

__all__ = [
    "Cancelled",
    "FeatureRow",
    "Heatmap",
    "HeatmapView",
    "Inline",
    "Replaced",
    "Status",
    "Steering",
    "Training",
    "Worker",
]
