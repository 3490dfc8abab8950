"""Train SAEs on what a model makes of texts: `train`, and `train_several` for several hooks.

Under torchrun every process runs this with a model of its own; each makes activations of its part
of the texts, and all give the same SAE back.
"""

from __future__ import annotations

import hashlib
import logging
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from sae_widgets.formats import save_sae
from sae_widgets.model import (
    Model,
    begins,
    check_hook,
    check_inference,
    check_vocabulary,
    context_length,
    identity,
)
from sae_widgets.sae import SAE
from sae_widgets.tokens import special_ids
from sae_widgets.training import agree
from sae_widgets.training import folder as kept
from sae_widgets.training.activations import Stream
from sae_widgets.training.corpus import Corpus, check_size
from sae_widgets.training.folder import Existing
from sae_widgets.training.modes import own_modes
from sae_widgets.training.quality import statistics
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.trainer import (
    SAMPLE,
    TURN,
    Learner,
    Learners,
    SAETrainer,
    alone,
    arguments,
    blank,
    started,
    trouble,
)

TOGETHER = (
    "steps",
    "batch",
    "warmup",
    "decay",
    "precision",
    "context",
    "buffer",
    "shards",
    "seed",
)
"""What recipes must agree in to be carried out in one run."""

logger = logging.getLogger(__name__)

FROZEN = "Placebo: its directions are random and were never trained; only the encoder was."


@dataclass(frozen=True, eq=False)
class Plan:
    """A run that nothing speaks against, as far as can be told before the model reads a text."""

    model: Model
    texts: Iterable[Any]
    recipes: Sequence[Recipe]
    column: str = "text"
    folder: str | Path | None = None
    existing: Existing = "refuse"
    save_every: int | None = None

    def __post_init__(self) -> None:
        check(self.model, self.recipes)
        if self.place is not None:
            kept.check(self.place, self.existing)
        elif self.existing != "refuse" or self.save_every is not None:
            raise ValueError("existing and save_every are about a folder; say which in folder=")
        if self.save_every is not None and self.save_every < 1:
            raise ValueError(f"save_every is a number of steps, at least 1; got {self.save_every}")
        check_size(self.corpus, special_ids(self.model.tokenizer), self.recipes[0].batch)

    @property
    def place(self) -> Path | None:
        return None if self.folder is None else Path(self.folder)

    @property
    def corpus(self) -> Corpus:
        context = min(self.recipes[0].context, context_length(self.model))
        return Corpus(self.texts, self.model.tokenizer, context, self.column, begins(self.model))

    def run(
        self,
        callbacks: Sequence[TrainerCallback] = (),
        *,
        progress: bool = True,
        check: Callable[[], None] = lambda: None,
        say: Callable[[str], None] = logger.warning,
    ) -> list[SAE]:
        """Carry it out. While activations are made, `check` may raise what ends it.

        `say` is told what the person should know.
        """
        first, place = self.recipes[0], self.place
        with ExitStack() as stack:
            stack.enter_context(alone())
            stack.enter_context(own_modes())
            # The trainer asks for a folder also where nothing is to be kept.
            out = place or Path(stack.enter_context(TemporaryDirectory(prefix="sae-widgets-")))
            every = None if place is None else self.save_every or max(1, first.steps // 10)
            settings = arguments(first, str(out), every, streaming=True)
            checkpoint = None
            if place is not None:
                checkpoint = begins_at(place, self.existing, settings, say)
            stream = replace(streamed(self.model, self.corpus, self.recipes, settings), check=check)
            widths = {hook: x.shape[1] for hook, x in stream.sample(1).items()}
            recipes = [r.filled(widths[r.hooks[-1]], stream.shards) for r in self.recipes]
            about = {
                "model": about_model(self.model),
                "texts": digest(stream.corpus),
                "recipes": told(recipes),
                "turn": TURN,
            }
            if self.existing == "resume":
                agree.together(lambda: may_go_on(out, about, checkpoint), settings.device)
            if checkpoint is None:
                learners = begun(stream, recipes)
            else:
                shapes = [(widths[r.hooks[-1]], widths[r.hook]) for r in recipes]
                pairs = [(blank(r, *s), r) for r, s in zip(recipes, shapes, strict=True)]
                learners = Learners([Learner(sae, recipe, 1.0) for sae, recipe in pairs])
            if place is not None and checkpoint is None:
                write_run(place, about, settings)
            trainer = SAETrainer(
                learners,
                replace(stream, start=0 if checkpoint is None else kept.step_of(checkpoint)),
                settings,
                callbacks=callbacks,
                progress=progress,
            )
            trainer.run(checkpoint)
            saes = finished(learners, stream, about)
            if settings.process_index == 0:
                for learner, sae in zip(learners, saes, strict=True):
                    if said := trouble(learner.recipe, sae.provenance["dead"]):
                        say(said)
            if place is not None and settings.process_index == 0:
                for sae in saes:
                    save_sae(sae, place / sae.name)
        return saes


def train(
    model: Model,
    texts: Iterable[Any],
    recipe: Recipe,
    *,
    column: str = "text",
    folder: str | Path | None = None,
    existing: Existing = "refuse",
    save_every: int | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    progress: bool = True,
) -> SAE:
    """Train an SAE on the activations that `model` makes of `texts`, statistics included.

    A transcoder, if the recipe says where it writes.

    texts: strings, or a Hugging Face dataset whose `column` ("text") holds them; they are read
    anew for each pass. folder: where checkpoints (one every `save_every` steps; None: every tenth
    of the run) and the SAE are kept; None: nowhere. existing: what to do with a run that is there
    already: "refuse", "resume" it from its last checkpoint, or "replace" it. callbacks: of
    `transformers.Trainer`, whose state has loss, fvu, l0, dead, learning_rate and grad_norm in its
    log_history. What went badly, such as many dead features, is logged as a warning.

    Raises a ValueError or a FileExistsError for what the arguments contradict, before any work is
    done, and a RuntimeError while another training goes on in this process.
    """
    plan = Plan(model, texts, [recipe], column, folder, existing, save_every)
    (sae,) = plan.run(callbacks, progress=progress)
    return sae


def train_several(
    model: Model,
    texts: Iterable[Any],
    recipes: Sequence[Recipe],
    *,
    column: str = "text",
    folder: str | Path | None = None,
    existing: Existing = "refuse",
    save_every: int | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    progress: bool = True,
) -> list[SAE]:
    """As `train`, several SAEs at once: the model reads each text once for all of them.

    Every SAE is as it would be alone. Their recipes agree in all that is about the run. In the log
    the figures of each begin with its name and a stroke, as in "blocks.0.hook_resid_post/fvu".
    """
    plan = Plan(model, texts, recipes, column, folder, existing, save_every)
    return plan.run(callbacks, progress=progress)


def begins_at(
    place: Path, existing: Existing, settings: TrainingArguments, say: Callable[[str], None]
) -> Path | None:
    """The checkpoint that the run goes on from, if from any: all processes must see the same."""

    def look() -> tuple[Path | None, list[str]]:
        kept.check(place, existing)
        return kept.begin_from(place) if existing == "resume" else (None, [])

    found, told = agree.together(look, settings.device)
    if settings.process_index == 0:
        for each in told:
            say(each)
    step = torch.tensor(-1 if found is None else kept.step_of(found), device=settings.device)
    if agree.smallest(step) != agree.largest(step):
        sees = "no checkpoint" if found is None else found.name
        raise ValueError(
            f"the processes of this run do not see the same checkpoints: in {place}, process "
            f"{settings.process_index} sees {sees}. Name a folder that all of them share, or copy "
            "the run to where those are that lack it"
        )
    return found


def may_go_on(folder: Path, about: Mapping[str, Any], checkpoint: Path | None) -> None:
    """Raise if the run in `folder`, if there is one, is another, or is done and cannot go on."""
    if (folder / kept.RUN).is_file():
        kept.compare(folder, about)
    if checkpoint is None and (done := kept.saes_in(folder)):
        raise FileExistsError(
            f"{folder} holds no checkpoint to go on from, but an SAE: {done[0].name}. Load it, or "
            "pass existing='replace' (--replace) to throw it away"
        )


def streamed(
    model: Model, corpus: Corpus, recipes: Sequence[Recipe], settings: TrainingArguments
) -> Stream:
    """The activations at the hooks of all recipes, of this process's part of the texts."""
    first, processes = recipes[0], settings.world_size
    return Stream(
        model,
        list(dict.fromkeys(hook for recipe in recipes for hook in recipe.hooks)),
        corpus,
        first.batch,
        first.buffer,
        shards=first.shards or processes,
        seed=first.seed,
        rank=settings.process_index,
        world=processes,
    )


def begun(stream: Stream, recipes: Sequence[Recipe]) -> Learners:
    """Untrained SAEs, at the place and in the scale of the first activations."""
    sample = stream.sample(max(SAMPLE, stream.batch))
    return Learners([started(recipe, sample) for recipe in recipes])


def finished(learners: Learners, stream: Stream, about: Mapping[str, Any]) -> list[SAE]:
    """The trained SAEs with their statistics, and where they come from."""
    seen = stream.sample(max(SAMPLE, stream.buffer))
    saes = []
    for learner in learners.to("cpu"):
        sae = learner.finished()
        sae.stats = statistics(sae, seen[sae.hook], seen[sae.hook_out])
        sae.provenance = about_sae(about, learner.recipe, int(learner.seen))
        sae.provenance["prepend_bos"] = stream.corpus.begin
        # After few steps many have not fired for long that still do on some text.
        dead = learner.dead & (sae.stats.density == 0)
        sae.provenance["dead"] = dead.float().mean().item()
        sae.placebo = FROZEN if learner.recipe.frozen else None
        saes.append(sae.to("cpu"))
    return saes


def write_run(place: Path, about: Mapping[str, Any], settings: TrainingArguments) -> None:
    """Begin the folder of a run, once for all processes."""
    state = settings.distributed_state
    assert state is not None
    state.wait_for_everyone()  # all have looked at the folder before one of them writes
    if state.is_main_process:
        kept.begin(place, about)
    state.wait_for_everyone()


def check(model: Model, recipes: Sequence[Recipe]) -> None:
    """Raise if these recipes cannot be carried out on this model, or not in one run."""
    if getattr(model, "tokenizer", None) is None:
        raise ValueError(
            "this model has no tokenizer, so it cannot read text; give it one: "
            "load_model(model, tokenizer)"
        )
    check_inference(model)
    check_vocabulary(model)
    if not recipes:
        raise ValueError("no recipe was given, so there is nothing to train")
    for recipe in recipes:
        for hook in recipe.hooks:
            check_hook(model, hook)
        for name in TOGETHER:
            if getattr(recipe, name) != getattr(recipes[0], name):
                raise ValueError(
                    f"recipes of one run agree in {name}; got {getattr(recipes[0], name)!r} and "
                    f"{getattr(recipe, name)!r}"
                )
    names = [recipe.name or recipe.hook for recipe in recipes]
    if len(set(names)) != len(names):
        raise ValueError(f"SAEs of one run need names of their own (name=...); got {names}")


def about_model(model: Model) -> dict[str, str]:
    """Which model this is, whatever reads it."""
    return {name: text for name, text in identity(model).items() if name != "transformer_lens"}


def digest(corpus: Corpus) -> str:
    """Tells texts from other texts, by how they begin."""
    return hashlib.sha256(str(list(islice(corpus, 64))).encode()).hexdigest()[:16]


def told(recipes: Sequence[Recipe]) -> list[dict[str, Any]]:
    """Recipes as they are written down."""
    return [recipe.to_json() for recipe in recipes]


def about_sae(about: Mapping[str, Any], recipe: Recipe, steps: int) -> dict[str, Any]:
    """Where an SAE's weights come from; it may have been stopped after fewer steps than asked."""
    return {
        "model": about["model"]["name"],
        "weights of the model": about["model"]["weights"],
        "made by": "sae_widgets.train",
        "texts": about["texts"],
        "vectors": steps * recipe.batch,
        "recipe": recipe.to_json(),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The libraries that numbers may depend on."""
    names = ("torch", "transformers", "transformer-lens", "tokenizers", "sae-widgets")
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # sae_widgets itself, run from a checkout
            continue
    return found
