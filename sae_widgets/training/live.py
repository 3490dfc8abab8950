"""Train with a widget to watch: here the trainer meets its widget."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from IPython.core.getipython import get_ipython
from transformers import TrainerCallback

from sae_widgets.model import Model, context_length
from sae_widgets.share.twin import leave_twin
from sae_widgets.training import folder as kept
from sae_widgets.training.corpus import Corpus
from sae_widgets.training.folder import Existing
from sae_widgets.training.from_texts import check, train
from sae_widgets.training.recipe import Recipe
from sae_widgets.widgets.training import Training
from sae_widgets.wire import told_about


def training(
    model: Model,
    texts: Iterable[Any],
    recipe: Recipe,
    *,
    column: str = "text",
    folder: str | Path | None = None,
    existing: Existing = "refuse",
    save_every: int | None = None,
) -> Training:
    """Begin to `train` an SAE, and return the widget that shows how it goes.

    The training runs beside the notebook: the cell returns at once, others can be run, and the
    widget's buttons pause it, stop it, and keep a checkpoint (where there is a `folder`). Its
    `result()` waits for the SAE; of a training that was stopped, it is the SAE so far. What the
    arguments contradict is raised here, what goes wrong later by `result()`.

    A training ends with its kernel, and when its cell is run again. With a folder,
    existing="resume" goes on from its last checkpoint, of which stopping writes one.
    """
    check(model, [recipe])
    Corpus(texts, model.tokenizer, min(recipe.context, context_length(model)), column)
    cell = this_cell()
    make_room(cell)
    if folder is not None:
        kept.check(Path(folder), existing)

    def run(widget: Training) -> Any:
        done = kept.last_checkpoint(Path(folder)) if folder and existing == "resume" else None
        if done is not None:  # a run that is at its end tells nothing more
            widget.begin(kept.step_of(done), kept.history(done))
        return train(
            model,
            texts,
            recipe,
            column=column,
            folder=folder,
            existing=existing,
            save_every=save_every,
            callbacks=[Watch(widget)],
            progress=False,
        )

    about = told_about(model, {})
    name = recipe.name or recipe.hook
    known = {
        **{field: getattr(recipe, field) for field in ("hook", "steps", "batch", "d_sae")},
        "name": name,
        "target": None if recipe.objective is None else recipe.objective.target,
        "folder": None if folder is None else str(folder),
    }
    widget = Training(
        run, known, about={**about, "saes": {name: recipe.to_json()}}, twin=leave_twin
    )
    _begun[widget] = cell
    return widget


_begun: weakref.WeakKeyDictionary[Training, str | None] = weakref.WeakKeyDictionary()
"""The trainings of this kernel, and the cells that began them."""


def this_cell() -> str | None:
    """The id of the cell that is run, where there is one and the notebook tells it."""
    shell: Any = get_ipython()
    if not hasattr(shell, "get_parent"):  # a terminal, or no IPython at all
        return None
    id: str | None = shell.get_parent().get("metadata", {}).get("cellId")
    return id


def make_room(cell: str | None) -> None:
    """End what the same cell began before: nobody sees it any more. Raise if another goes on."""
    for other, its_cell in list(_begun.items()):
        if other.over:
            continue
        if cell is None or cell != its_cell:
            raise ValueError(
                f"a training of this kernel goes on ({other.run['name']}, step {other.at['step']} "
                f"of {other.run['steps']}): wait for its result, or stop it"
            )
        other.ended = True
        other.wait()


class Watch(TrainerCallback):
    """Tells a widget how its training goes, and does what the person wants."""

    def __init__(self, widget: Training) -> None:
        self._widget = widget
        self._keeps = widget.run["folder"] is not None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        (learner,) = kwargs["model"]
        known = {"d_sae": learner.sae.d_sae, "target": learner.objective.target}
        self._widget.begin(state.global_step, state.log_history, **known)

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
