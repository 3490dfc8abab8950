"""The figures of a training as one plotly figure, to look closely at and to print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sae_widgets.training import folder as kept
from sae_widgets.training.tally import LEAST
from sae_widgets.widgets.training import Training

CHARTS = {
    "loss": ("loss", "log"),
    "fvu": ("FVU", "log"),
    "l0": ("L0", "linear"),
    "dead": ("share of dead features", "linear"),
    "learning_rate": ("learning rate", "linear"),
    "grad_norm": ("gradient norm", "log"),
}
"""Titles and vertical axes of the figures of the log, in the order in which they are drawn."""

COLUMNS = 4


def training_figure(run: Training | str | Path) -> Any:
    """A plotly figure of a training: a widget, or the folder that a run was kept in.

    One chart for each figure of the log over the steps, L0 with its target, and for every step how
    many features fired on which share of the vectors. Needs plotly (`sae-widgets[plot]`).
    """
    try:
        from plotly import graph_objects
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise ImportError(
            "figures are drawn by plotly, which is not installed: pip install 'sae-widgets[plot]'"
        ) from error
    name, target, lines = told(run)
    steps = [line["step"] for line in lines]
    titles = [title for title, _ in CHARTS.values()]
    figure = make_subplots(
        rows=2,
        cols=COLUMNS,
        subplot_titles=[*titles, "features by how often they fire"],
        specs=[[{}] * COLUMNS, [{}, {}, {"colspan": 2}, None]],
    )
    for place, (figure_name, (_, kind)) in enumerate(CHARTS.items()):
        at = {"row": 1 + place // COLUMNS, "col": 1 + place % COLUMNS}
        values = [line.get(figure_name) for line in lines]
        figure.add_trace(graph_objects.Scatter(x=steps, y=values, mode="lines"), **at)
        figure.update_yaxes(type=kind, **({} if kind == "log" else {"rangemode": "tozero"}), **at)
    if target is not None:
        figure.add_hline(y=target, line_dash="dash", annotation_text="target", row=1, col=3)
    counts = [list(bins) for bins in zip(*(line["densities"] for line in lines), strict=True)]
    powers = [LEAST + bin / 2 for bin in range(len(counts) - 1)]
    names = ["never", *(f"from 10^{power:g}" for power in powers)]
    heat = graph_objects.Heatmap(x=steps, y=names, z=counts, colorscale="Cividis")
    figure.add_trace(heat, row=2, col=3)
    figure.update_xaxes(title_text="step")
    figure.update_layout(title=f"Training of {name}", showlegend=False, height=620)
    return figure


def told(run: Training | str | Path) -> tuple[str, float | None, list[dict[str, Any]]]:
    """The name of an SAE, the L0 that was aimed at, and the lines of the log."""
    if isinstance(run, Training):
        name, target, lines = str(run.run["name"]), run.run["target"], run.lines
    else:
        place = Path(run)
        checkpoint = kept.last_checkpoint(place)
        if checkpoint is None:
            raise FileNotFoundError(f"{place} holds no training run with a checkpoint")
        recipes = json.loads((place / kept.RUN).read_text(encoding="utf-8"))["recipes"]
        if len(recipes) > 1:
            names = ", ".join(recipe["name"] for recipe in recipes)
            raise ValueError(f"{place} holds several SAEs ({names}); a figure is of one")
        name, objective = recipes[0]["name"], recipes[0]["objective"]
        target = objective.get("k", objective.get("l0"))
        lines = kept.history(checkpoint)
    if not lines:
        raise ValueError(f"the training of {name} has no figures as yet")
    return name, target, lines
