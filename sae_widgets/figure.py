"""The figures of a training as one plotly figure, to look closely at and to print."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sae_widgets.share.color import HUES
from sae_widgets.training import folder as kept
from sae_widgets.training.tally import LEAST
from sae_widgets.widgets.training import Training, beginnings

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
    many features fired on which share of the vectors. Of several SAEs each has a line of its own
    in every chart, and of how often features fire the last step alone is drawn. Needs plotly
    (`sae-widgets[plot]`).
    """
    try:
        from plotly import graph_objects
        from plotly.subplots import make_subplots
    except ImportError as error:
        raise ImportError(
            "figures are drawn by plotly, which is not installed: pip install 'sae-widgets[plot]'"
        ) from error
    targets, lines = told(run)
    starts = beginnings(list(targets))
    several = len(targets) > 1
    colors = [f"rgb{hue}" for hue in HUES] if several else ["#3b6fd4"]
    steps = [line["step"] for line in lines]
    titles = [title for title, _ in CHARTS.values()]
    figure = make_subplots(
        rows=2,
        cols=COLUMNS,
        subplot_titles=[*titles, "features by how often they fire"],
        specs=[[{}] * COLUMNS, [{}, {}, {"colspan": 2}, None]],
    )

    def draw(x: Any, y: Any, place: int, number: int, at: Mapping[str, int]) -> None:
        name, color = list(targets)[number], colors[number % len(colors)]
        more = {"name": name, "legendgroup": name, "showlegend": place == 0, "line_color": color}
        figure.add_trace(graph_objects.Scatter(x=x, y=y, mode="lines", **more), **at)

    for place, (figure_name, (_, kind)) in enumerate(CHARTS.items()):
        at = {"row": 1 + place // COLUMNS, "col": 1 + place % COLUMNS}
        for number, start in enumerate(starts):
            draw(steps, [line.get(start + figure_name) for line in lines], place, number, at)
        figure.update_yaxes(type=kind, **({} if kind == "log" else {"rangemode": "tozero"}), **at)
    for number, target in enumerate(targets.values()):
        if target is not None:
            look = {"line_dash": "dash", "line_color": colors[number % len(colors)]}
            figure.add_hline(y=target, annotation_text="target", row=1, col=3, **look)
    powers = [LEAST + bin / 2 for bin in range(len(lines[-1][starts[0] + "densities"]) - 1)]
    bins = ["never", *(f"from 10^{power:g}" for power in powers)]
    at = {"row": 2, "col": 3}
    if several:
        for number, start in enumerate(starts):
            draw(bins, lines[-1][start + "densities"], len(CHARTS), number, at)
    else:
        columns = zip(*(line["densities"] for line in lines), strict=True)
        counts = [list(column) for column in columns]
        heat = graph_objects.Heatmap(x=steps, y=bins, z=counts, colorscale="Cividis")
        figure.add_trace(heat, **at)
    figure.update_xaxes(title_text="step")
    if several:
        figure.update_xaxes(title_text="share of the vectors, at the last step", **at)
    title = f"Training of {', '.join(targets)}"
    figure.update_layout(title=title, showlegend=several, height=620)
    return figure


def told(run: Training | str | Path) -> tuple[dict[str, float | None], list[dict[str, Any]]]:
    """The L0 that each SAE aimed at, by its name, and the lines of the log."""
    if isinstance(run, Training):
        targets = {sae["name"]: sae["target"] for sae in run.run["saes"]}
        lines = run.lines
    else:
        place = Path(run)
        checkpoint = kept.last_checkpoint(place)
        if checkpoint is None:
            raise FileNotFoundError(f"{place} holds no training run with a checkpoint")
        recipes = json.loads((place / kept.RUN).read_text(encoding="utf-8"))["recipes"]
        targets = {each["name"]: target_of(each["objective"]) for each in recipes}
        lines = kept.history(checkpoint)
    if not lines:
        raise ValueError(f"the training of {', '.join(targets)} has no figures as yet")
    return targets, lines


def target_of(objective: Mapping[str, Any]) -> float | None:
    """The L0 that an objective aims at, as it is written down."""
    target: float | None = objective.get("k", objective.get("l0"))
    return target
