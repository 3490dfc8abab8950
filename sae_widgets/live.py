"""Train with a widget to watch: here the trainer meets its widget."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from IPython.core.getipython import get_ipython
from transformers import TrainerCallback

from sae_widgets.model import Model
from sae_widgets.share.twin import leave_twin
from sae_widgets.training import folder as kept
from sae_widgets.training.from_texts import Plan
from sae_widgets.training.objectives import Objective
from sae_widgets.training.recipe import Recipe
from sae_widgets.widgets.training import Training
from sae_widgets.wire import told_about


def training(
    model: Model,
    texts: Iterable[Any],
    recipes: Recipe | Sequence[Recipe],
    *,
    column: str = "text",
    folder: str | Path | None = None,
    existing: kept.Existing = "refuse",
    save_every: int | None = None,
) -> Training:
    """Begin to `train` an SAE, or several from the same tokens, and return a widget that shows it.

    recipes: one, or several as in `train_several`. The rest is as for `train`.

    The training runs beside the notebook: the cell returns at once, others can be run, and the
    widget's buttons pause it, stop it, and keep a checkpoint (where there is a `folder`). Its
    `result()` waits for the SAE, or for the list of them if several recipes were given; of a
    training that was stopped, it is what there is so far; before the first step that is nothing,
    and `result()` raises a RuntimeError. What the arguments contradict is raised here, what goes
    wrong later by `result()`.

    A training ends with its kernel, and when its cell is run again. With a folder,
    existing="resume" goes on from its last checkpoint, of which stopping writes one.
    """
    one = isinstance(recipes, Recipe)
    cell = this_cell()
    make_room(cell)  # before the folder is looked at, in which the old one goes on
    several = [recipes] if isinstance(recipes, Recipe) else recipes
    plan = Plan(model, texts, several, column, folder, existing, save_every)

    def run(widget: Training) -> Any:
        place = plan.place if plan.existing == "resume" else None
        done = None if place is None else kept.last_checkpoint(place)
        if done is not None:  # a run that is at its end tells nothing more
            widget.begin(kept.step_of(done), kept.history(done))
        watch = [Watch(widget)]
        saes = plan.run(watch, progress=False, check=widget.check, say=widget.say)
        return saes[0] if one else saes

    first = plan.recipes[0]
    known = {
        "steps": first.steps,
        "batch": first.batch,
        "folder": None if plan.place is None else str(plan.place),
        "saes": [told(recipe, recipe.objective) for recipe in plan.recipes],
    }
    saes = {recipe.name or recipe.hook: recipe.to_json() for recipe in plan.recipes}
    about = {**told_about(model, {}), "saes": saes}
    widget = Training(run, known, about=about, twin=leave_twin)
    _begun[widget] = cell
    return widget


def told(recipe: Recipe, objective: Objective | None) -> dict[str, Any]:
    """What a widget shows of one SAE of a run."""
    return {
        "name": recipe.name or recipe.hook,
        "hook": recipe.hook,
        "d_sae": recipe.d_sae,
        "target": None if objective is None else objective.target,
    }


_begun: weakref.WeakKeyDictionary[Training, Cell | None] = weakref.WeakKeyDictionary()
"""The trainings of this kernel, and the cells that began them."""


class Cell(NamedTuple):
    """A cell, and which time it is run."""

    id: str
    run: str


def this_cell() -> Cell | None:
    """The cell that is run, where there is one and the notebook tells it."""
    shell: Any = get_ipython()
    if not hasattr(shell, "get_parent"):  # a terminal, or no IPython at all
        return None
    asked = shell.get_parent()
    id = asked.get("metadata", {}).get("cellId")
    return None if id is None else Cell(id, asked["header"]["msg_id"])


def make_room(cell: Cell | None) -> None:
    """End what the same cell began before: nobody sees it any more. Raise if another goes on."""
    for other, its_cell in list(_begun.items()):
        if other.over:
            continue
        again = cell is not None and its_cell is not None and cell.id == its_cell.id
        if not again or cell == its_cell:  # of one run of a cell, both are seen
            raise ValueError(
                f"a training of this kernel goes on ({names_of(other)}, step {other.at['step']} of "
                f"{other.run['steps']}): wait for its result, or stop it"
            )
        other.ended = True
        other.wait()


def names_of(training: Training) -> str:
    return ", ".join(sae["name"] for sae in training.run["saes"])


class Watch(TrainerCallback):
    """Tells a widget how its training goes, and does what the person wants."""

    def __init__(self, widget: Training) -> None:
        self._widget = widget
        self._keeps = widget.run["folder"] is not None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        saes = [told(learner.recipe, learner.objective) for learner in kwargs["model"]]
        self._widget.begin(state.global_step, state.log_history, saes=saes)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:  # noqa: ARG002
        self._widget.add({**logs, "step": state.global_step})

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._obey(state, control)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        self._widget.kept(state.global_step)
        if not control.should_training_stop:
            self._obey(state, control)  # who paused is still paused

    def _obey(self, state: Any, control: Any) -> None:
        order = self._widget.after(state.global_step)
        control.should_training_stop |= order == "stop"
        missing = self._widget.at["saved"] != state.global_step
        control.should_save |= self._keeps and missing and order != "go on"
