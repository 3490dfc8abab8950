"""Remake the demo from nothing: `python -m sae_widgets.demo.train [FOLDER] [--work FOLDER]`.

Two language models on Postcards, and of each, SAEs of four kinds and their controls, three seeds
of each; then what they are worth (`quality`, `trials`); then the folder that ships. Everything
that takes time is a stage with a folder of its own under `--work`; a stage whose configuration has
not changed since it was finished is not run again.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import math
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from sae_widgets.demo import language_model, report, tokenizer, world
from sae_widgets.demo.concepts import both_ways, likeness
from sae_widgets.demo.quality import HeldOut, encoded, held_out, human, labels, language, recover
from sae_widgets.demo.trials import Choice, Score, choose, compose, occasions, push, spill
from sae_widgets.demo.trials import report as report_trials
from sae_widgets.formats import load_sae, save_sae
from sae_widgets.model import load_model
from sae_widgets.sae import SAE
from sae_widgets.tokens import pieces
from sae_widgets.training.activations import Rows, collect
from sae_widgets.training.objectives import BatchTopK, Matryoshka, Objective
from sae_widgets.training.quality import fidelity, recovery, statistics
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.trainer import fit

HERE = Path(__file__).parent
LAYER = 3
RESIDUAL = f"blocks.{LAYER}.hook_resid_post"
ATTENTION = f"blocks.{LAYER}.attn.hook_z"
MODELS = (0, 1)  # seeds of the language models; the first ships
SEEDS = (0, 1, 2)  # seeds of the SAEs; the first ships
DOCUMENTS = 8_000  # that SAEs are trained on, about 650,000 tokens
SAE_SEED = 500_000
UNTRAINED_SEED = 100


@dataclass(frozen=True)
class Plan:
    """One kind of SAE. `placebo` says, for people, why it is a control."""

    name: str
    title: str
    width: int
    k: int
    prefixes: tuple[int, ...] = ()
    hook: str = RESIDUAL
    kind: str = "trained"  # or "frozen", "untrained"
    placebo: str | None = None

    @property
    def objective(self) -> Objective:
        return Matryoshka(self.k, self.prefixes) if self.prefixes else BatchTopK(self.k)


FROZEN = "Placebo: its directions are random and were never trained; only the encoder was."
UNTRAINED = "Placebo: trained on the activations of a language model that never saw any text."
PLANS = (
    Plan("batchtopk-256", "256 features", 256, 16),
    Plan("batchtopk-512", "512 features", 512, 16),
    Plan("matryoshka-256", "256 features, nested", 256, 16, (32, 64, 128, 256)),
    Plan("matryoshka-512", "512 features, nested", 512, 16, (32, 64, 128, 256, 512)),
    Plan("attention-256", "256 features of attention", 256, 16, hook=ATTENTION),
    Plan("frozen-256", "random directions", 256, 16, kind="frozen", placebo=FROZEN),
    Plan("frozen-512", "random directions, 512", 512, 16, kind="frozen", placebo=FROZEN),
    Plan("untrained-256", "untrained model", 256, 16, kind="untrained", placebo=UNTRAINED),
    Plan("untrained-512", "untrained model, 512", 512, 16, kind="untrained", placebo=UNTRAINED),
)
SHIPPED = (
    "batchtopk-256",
    "batchtopk-512",
    "matryoshka-256",
    "matryoshka-512",
    "attention-256",
    "frozen-256",
    "untrained-256",
)
# Which dictionaries are steered with; every trained one has its matched control.
STEERED = ("batchtopk-256", "frozen-256")
ALSO_STEERED = ("batchtopk-512", "matryoshka-256", "matryoshka-512")  # one seed, first model


@dataclass(frozen=True)
class Settings:
    """What a rehearsal makes smaller."""

    lm_steps: int = language_model.STEPS
    documents: int = DOCUMENTS
    sae_steps: int = 1400
    sae_batch: int = 1024
    held_out: int = 500
    floor: int = 100  # documents whose exact probability is worked out: it takes seconds each
    prompts: int = 6
    draws: int = 4  # random numbers per prompt while choosing; twice as many while scoring
    samples: int = 64
    models: tuple[int, ...] = MODELS
    seeds: tuple[int, ...] = SEEDS

    def recipe(self, plan: Plan, seed: int) -> Recipe:
        """How an SAE of this kind is trained."""
        return Recipe(
            plan.hook,
            plan.width,
            plan.objective,
            steps=self.sae_steps,
            batch=self.sae_batch,
            lr=2e-4 / math.sqrt(plan.width / 2**14),
            seed=seed,
            frozen=plan.kind == "frozen",
        )


@dataclass(frozen=True)
class Stage:
    """Something to make in a folder of its own; `config` says all that it depends on."""

    name: str
    config: Mapping[str, Any]
    make: Callable[[Path], None]

    @property
    def key(self) -> str:
        """Stands for all that the stage depends on."""
        return digest(json.dumps(self.config, sort_keys=True).encode())

    def finished(self, work: Path) -> bool:
        path = work / self.name / "stage.json"
        return path.is_file() and json.loads(path.read_text())["key"] == self.key

    def carry_out(self, work: Path) -> None:
        """Make it beside its folder, then put it there."""
        part = work / f".{self.name}"
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        self.make(part)
        kept = {"key": self.key, "config": self.config}
        (part / "stage.json").write_text(json.dumps(kept, indent=1))
        shutil.rmtree(work / self.name, ignore_errors=True)
        part.rename(work / self.name)
        gc.collect()  # a Trainer is a ring of references, which keeps all its data alive until then


def measured(name: str, config: Mapping[str, Any], make: Callable[[], Any]) -> Stage:
    """A stage whose outcome is one JSON document."""
    return Stage(name, config, partial(write_result, make=make))


def write_result(folder: Path, make: Callable[[], Any]) -> None:
    (folder / "result.json").write_text(json.dumps(make(), indent=1))


@dataclass(frozen=True)
class Made:
    """The folder of a finished stage, and the key of what it was made from."""

    folder: Path
    key: str

    @property
    def sae(self) -> Path:
        return self.folder / "sae"

    @property
    def result(self) -> Any:
        return json.loads((self.folder / "result.json").read_text())


class Workshop:
    """Stages in folders: made once, and again only if what they are made from has changed."""

    def __init__(self, folder: Path, stages: int) -> None:
        self.folder = folder
        self.bar = tqdm(total=stages, desc="demo", unit="stage")

    def alone(self, stage: Stage) -> Made:
        """Make one stage with every core."""
        self.bar.set_description(stage.name)
        if not stage.finished(self.folder):
            stage.carry_out(self.folder)
        self.bar.update()
        return Made(self.folder / stage.name, stage.key)

    def together(self, stages: Mapping[Any, Stage]) -> dict[Any, Made]:
        """Make stages that do not wait for each other side by side, with one core each.

        Their matrices are too small for two cores to share one well.
        """
        missing = [stage for stage in stages.values() if not stage.finished(self.folder)]
        self.bar.update(len(stages) - len(missing))
        if missing:
            with ProcessPoolExecutor(
                os.cpu_count(), get_context("spawn"), torch.set_num_threads, (1,)
            ) as pool:
                making = [pool.submit(stage.carry_out, self.folder) for stage in missing]
                for stage, one in zip(missing, making, strict=True):
                    self.bar.set_description(stage.name)
                    one.result()
                    self.bar.update()
        return {name: Made(self.folder / stage.name, stage.key) for name, stage in stages.items()}


def digest(data: bytes) -> str:
    """SHA-256, shortened: a name for a configuration."""
    return hashlib.sha256(data).hexdigest()[:16]


def source(*names: str) -> str:
    """A fingerprint of source files and folders: other code is another configuration."""
    places = [HERE.parent / name for name in names]
    files = [file for at in places for file in (sorted(at.glob("*.py")) if at.is_dir() else [at])]
    return digest(b"".join(file.read_bytes() for file in files))


def world_source() -> str:
    """What language models depend on."""
    names = ("lexicon", "grammar", "spelling", "english", "vessi", "world", "tokenizer")
    return source(*(f"demo/{name}.py" for name in names), "demo/language_model.py")


def sae_source() -> str:
    """What SAEs depend on beside their language model."""
    names = ("activations", "codes", "objectives", "recipe", "sparse", "trainer")
    training = (f"training/{name}.py" for name in names)
    return source("demo/train.py", "model", "sae.py", *training)


def quality_source() -> str:
    """What measurements depend on beside what is measured."""
    demo = (f"demo/{name}.py" for name in ("train", "concepts", "quality", "parse"))
    return source(*demo, "model", "sae.py", "training/quality.py")


def trial_source() -> str:
    """What the trials of steering depend on beside model, SAE and chosen features."""
    names = ("acts", "terms", "hooks", "generation", "prompts", "schedules")
    steering = (f"steering/{name}.py" for name in names)
    return source("demo/train.py", "demo/trials.py", "demo/parse.py", "model", *steering)


# Language models


def make_model(folder: Path, seed: int, steps: int, drawn: Path) -> None:
    """Train a language model and round it to the sixteen bits that ship."""
    from transformers import GPT2LMHeadModel

    language_model.train(folder, seed, steps, drawn)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    GPT2LMHeadModel.from_pretrained(folder, dtype=torch.float16).save_pretrained(folder)


def make_untrained(folder: Path, like: Path) -> None:
    """The same model before training, its tokenizer beside it."""
    encoder = tokenizer.load(like)
    network = language_model.untrained(len(encoder), UNTRAINED_SEED)
    for parameter in network.parameters():
        parameter.data = parameter.data.to(torch.float16)
    network.save_pretrained(folder)
    encoder.save_pretrained(folder)


@lru_cache(maxsize=3)
def opened(folder: Path) -> Any:
    """A language model as its users get it; on the processor, where all the figures are made."""
    return load_model(folder, device="cpu")


@lru_cache(maxsize=1)
def training_texts(tokenizer_folder: Path, documents: int) -> list[list[int]]:
    """Documents for the SAEs, each behind the special token."""
    encoder = opened(tokenizer_folder).tokenizer
    texts = [document.text for document in world.documents(SAE_SEED, documents)]
    found = encoder(texts, add_special_tokens=False)["input_ids"]
    return [[encoder.bos_token_id, *ids] for ids in found]


@lru_cache(maxsize=2)
def training_rows(model: Path, hook: str, documents: int) -> Float[Tensor, "vector d_model"]:
    """The activations that SAEs of this hook are trained on."""
    return activations_of(model, hook, training_texts(model, documents))


def activations_of(
    model: Path, hook: str, texts: Sequence[Sequence[int]]
) -> Float[Tensor, "vector d_model"]:
    """Activations of ordinary tokens."""
    return collect(opened(model), hook, texts)


@lru_cache(maxsize=4)
def held_out_rows(model: Path, hook: str, documents: int) -> Float[Tensor, "vector d_model"]:
    """The activations of the held-out documents' ordinary tokens."""
    return activations_of(model, hook, truth_of(model, documents).texts)


# SAEs


def make_sae(
    folder: Path, plan: Plan, seed: int, model: Path, control: Path, settings: Settings, key: str
) -> None:
    """Train one SAE and write it as it ships, its statistics taken from the weights as written."""
    rows = training_rows(model, plan.hook, settings.documents)
    trained_on = rows
    if plan.kind == "untrained":
        # Brought to the norm of the real model, so that strengths mean the same in both.
        other = training_rows(control, plan.hook, settings.documents)
        trained_on = other * (rows.square().mean() / other.square().mean()).sqrt()
    recipe = settings.recipe(plan, seed)
    sae = fit(Rows(trained_on), recipe, progress=False)
    sae.name, sae.title, sae.placebo = plan.name, plan.title, plan.placebo
    sae.provenance = {
        "model": "postcards" if plan.kind != "untrained" else "postcards, untrained",
        "made by": "python -m sae_widgets.demo.train",
        "data": f"{settings.documents} Postcards documents, seed {SAE_SEED}",
        "vectors": len(trained_on),
        "recipe": recipe.to_json(),
        "seed": seed,
        "depends on": key,
        "versions": versions(),
    }
    # Statistics of the weights as they ship, on the model that the SAE is shown with.
    sae.stats = statistics(rounded(sae), rows)
    save_sae(sae, folder / "sae", dtype=torch.float16)


def rounded(sae: SAE) -> SAE:
    """The SAE after a way through sixteen bits."""
    with torch.no_grad():
        for tensor in (*sae.parameters(), *sae.buffers()):
            tensor.copy_(tensor.half().float())
    return sae


def versions() -> dict[str, str]:
    """The libraries that numbers may depend on."""
    names = ("torch", "transformers", "transformer-lens", "tokenizers", "sae-widgets")
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:  # sae_widgets itself, run from a checkout
            continue
    return {"python": platform.python_version(), **found}


# Measurements


@lru_cache(maxsize=2)
def truth_of(model: Path, documents: int) -> HeldOut:
    """The held-out documents in this model's tokens (all models share one tokenizer)."""
    return held_out(opened(model).tokenizer, documents=documents)


def measure_language(model: Path, settings: Settings) -> dict[str, Any]:
    """Gap and grammar of a language model."""
    from transformers import GPT2LMHeadModel

    network = GPT2LMHeadModel.from_pretrained(model, dtype=torch.float32).train(False)
    samples = language_model.sample(network, tokenizer.load(model), settings.samples, seed=1)
    found = language(opened(model), samples, documents=settings.floor)
    return {**asdict(found), "gap": found.gap, "examples": samples[:4]}


def measure_plain(model: Path, settings: Settings) -> dict[str, Any]:
    """What is found without any SAE: residual dimensions and principal components, both signs."""
    truth = truth_of(model, settings.held_out)
    rows = training_rows(model, RESIDUAL, settings.documents)
    x = held_out_rows(model, RESIDUAL, settings.held_out)
    mean = rows.mean(0)
    sample = Rows(rows).sample(50_000) - mean
    axes = torch.linalg.svd(sample, full_matrices=False).Vh
    return {
        "residual": asdict(recover(both_ways(x - mean), truth)),
        "pca": asdict(recover(both_ways((x - mean) @ axes.T), truth)),
    }


def measure_sae(
    folder: Path, plan: Plan, model: Path, control: Path, settings: Settings
) -> dict[str, Any]:
    """Fidelity, cost to the model, and concepts, of one SAE on held-out documents."""
    sae = load_sae(folder / "sae")
    truth = truth_of(model, settings.held_out)
    own = control if plan.kind == "untrained" else model
    x = held_out_rows(own, plan.hook, settings.held_out)
    if plan.kind == "untrained":
        rows = training_rows(model, plan.hook, settings.documents)
        other = training_rows(control, plan.hook, settings.documents)
        x = x * (rows.square().mean() / other.square().mean()).sqrt()
    found: dict[str, Any] = {
        "fidelity": asdict(fidelity(sae, x)),
        "concepts": asdict(recover(encoded(sae, x), truth)),
    }
    if plan.kind != "untrained":
        mean = training_rows(model, plan.hook, settings.documents).mean(0)
        cost = recovery(opened(model), sae, truth.texts[:200], mean)
        found["loss"] = {**asdict(cost), "cost": cost.cost, "recovered": cost.recovered}
    return found


def steer_with(
    sae: SAE,
    model: Path,
    candidates: Mapping[str, Sequence[int | Tensor]],
    settings: Settings,
    compositions: bool = False,
) -> dict[str, Any]:
    """Choose strengths on one set of occasions and report another; see `trials`."""
    bridge = opened(model)
    choosing = occasions(bridge.tokenizer, settings.prompts, settings.draws, scoring=False)
    scoring = occasions(bridge.tokenizer, settings.prompts, 2 * settings.draws, scoring=True)
    chosen = choose(bridge, sae, bridge.tokenizer, candidates, choosing)
    scored, written, alone = report_trials(bridge, sae, bridge.tokenizer, chosen, scoring)
    norm = sae.stats.norm if sae.stats else float("nan")
    found: dict[str, Any] = {
        "norm": norm,
        "concepts": {
            concept: {
                "feature": choice.direction if isinstance(choice.direction, int) else None,
                "strength": choice.strength,
                "peak": in_peaks(sae, choice, norm),
                "spill": spill(written[concept], alone, concept.split(":")[0]),
                "chosen": asdict(chosen[concept].score),
                **asdict(choice.score),
                "example": written[concept].texts[0],
            }
            for concept, choice in scored.items()
        },
    }
    if compositions:
        found["composition"] = compose(bridge, sae, bridge.tokenizer, chosen, choosing, scoring)
    return found


def in_peaks(sae: SAE, choice: Choice, norm: float) -> float | None:
    """A chosen strength in units of the feature's peak, as the sliders show it."""
    if not isinstance(choice.direction, int) or sae.stats is None:
        return None
    length = sae.W_dec[choice.direction].norm().item()
    return float(choice.strength * norm / (sae.stats.peak[choice.direction].item() * length))


def best_features(
    sae: SAE, model: Path, settings: Settings, axes: Sequence[str], count: int
) -> dict[str, list[int]]:
    """For each value of the axes, the features that agree with it best while choosing."""
    from sae_widgets.demo.concepts import agreement, pool

    truth = truth_of(model, settings.held_out)
    values = encoded(sae, held_out_rows(model, sae.hook, settings.held_out))
    pooled = pool(values, truth.sentence, len(truth.sentences.choosing))
    found = agreement(pooled, truth.sentences)
    assert sae.stats is not None
    alive = sae.stats.peak > 0
    mcc = found.mcc.masked_fill(~alive, -1.0)
    return {
        concept: mcc[place].topk(count).indices.tolist()
        for place, concept in enumerate(truth.sentences.concepts)
        if concept.split(":")[0] in axes
    }


def differences(model: Path, settings: Settings) -> dict[str, list[Tensor]]:
    """DiffMean: for each topic, mean activation with it minus without, at length one."""
    truth = truth_of(model, settings.held_out)
    x = held_out_rows(model, RESIDUAL, settings.held_out)
    half = truth.tokens.choosing
    found = {}
    for place, concept in enumerate(truth.tokens.concepts):
        if concept.startswith("topic:"):
            has = truth.tokens.truth[:, place]
            vector = x[half & has].mean(0) - x[half & ~has].mean(0)
            found[concept] = [vector / vector.norm()]
    return found


def steer_at_random(
    sae: SAE, model: Path, strengths: Mapping[str, float], seed: int, settings: Settings
) -> dict[str, Any]:
    """Add a random direction for each topic, at the strength that its feature was given."""
    bridge = opened(model)
    scoring = occasions(bridge.tokenizer, settings.prompts, 2 * settings.draws, scoring=True)
    generator = torch.Generator().manual_seed(4242 + seed)
    drawn = torch.randn(len(strengths), sae.d_model, generator=generator)
    choices = {
        concept: Choice(concept, vector / vector.norm(), strength, Score(0.0, 0.0, 0, 0))
        for (concept, strength), vector in zip(strengths.items(), drawn, strict=True)
    }
    scored, _, _ = report_trials(bridge, sae, bridge.tokenizer, choices, scoring)
    return {
        "concepts": {
            concept: {"strength": choice.strength, **asdict(choice.score)}
            for concept, choice in scored.items()
        }
    }


# All of it


Name = tuple[int, str, int]
"""Of an SAE: the seed of its language model, its plan, its own seed."""


def remake(out: Path, work: Path, settings: Settings) -> None:
    """Run every stage that is not finished, and write the folder that ships."""
    shop = Workshop(work, stages=count_stages(settings))
    drawn = shop.alone(corpus_stage(settings))
    models = shop.together({seed: model_stage(seed, drawn, settings) for seed in settings.models})
    first = models[settings.models[0]]
    control = shop.alone(
        Stage(
            "model-untrained",
            {"world": world_source(), "seed": UNTRAINED_SEED},
            partial(make_untrained, like=first.folder),
        )
    )
    results: dict[str, Any] = {"language": {}, "plain": {}, "saes": {}, "steering": {}}
    saes: dict[Name, Made] = {}
    for number, model in models.items():
        stages = {
            (number, plan.name, seed): sae_stage(number, plan, seed, model, control, settings)
            for plan, seed in plans(settings, number)
        }
        saes |= shop.together(stages)
        for (kind, name), made in shop.together(
            measurements(number, model, control, saes, settings)
        ).items():
            results[kind][name] = made.result
        # Random directions take the strengths that features were given, so they come last.
        for random in (False, True):
            found = shop.together(trials(number, model, saes, results, settings, random=random))
            results["steering"] |= {name: made.result for name, made in found.items()}
    results["stability"] = stability(saes, settings)
    shipped = [saes[settings.models[0], name, settings.seeds[0]] for name in SHIPPED]
    naming = measured(
        "labels",
        {
            "saes": [made.key for made in shipped],
            "code": [quality_source(), trial_source(), source("demo/train.py")],
            "settings": trial_settings(settings),
        },
        partial(label_all, [made.sae for made in shipped], first.folder, results, settings),
    )
    named = shop.alone(naming).result
    shop.bar.set_description("writing")
    write(out, first.folder, shipped, named, results, settings)
    shop.bar.update()
    shop.bar.close()


def corpus_stage(settings: Settings) -> Stage:
    """Draw what the language models are trained on."""
    return Stage(
        "corpus",
        {"world": world_source(), "steps": settings.lm_steps},
        partial(language_model.draw, steps=settings.lm_steps),
    )


def model_stage(seed: int, drawn: Made, settings: Settings) -> Stage:
    """Train a language model."""
    return Stage(
        f"model-{seed}",
        {"corpus": drawn.key, "seed": seed},
        partial(make_model, seed=seed, steps=settings.lm_steps, drawn=drawn.folder),
    )


def sae_stage(
    number: int, plan: Plan, seed: int, model: Made, control: Made, settings: Settings
) -> Stage:
    """Train an SAE on a model."""
    return Stage(
        f"sae-{number}-{plan.name}-{seed}",
        {
            "model": model.key,
            "control": control.key if plan.kind == "untrained" else None,
            "plan": asdict(plan),
            "code": sae_source(),
            "data": [SAE_SEED, settings.documents],
            "recipe": settings.recipe(plan, seed).to_json(),
        },
        partial(
            make_sae,
            plan=plan,
            seed=seed,
            model=model.folder,
            control=control.folder,
            settings=settings,
            key=model.key,
        ),
    )


def measurements(
    number: int, model: Made, control: Made, saes: Mapping[Name, Made], settings: Settings
) -> dict[tuple[str, Any], Stage]:
    """What is measured of a model and its SAEs, but steering: by kind of result and name."""
    config = {"model": model.key, "code": quality_source(), "n": settings.held_out}
    found: dict[tuple[str, Any], Stage] = {
        ("language", number): measured(
            f"language-{number}",
            {**config, "samples": [settings.samples, settings.floor]},
            partial(measure_language, model.folder, settings),
        ),
        ("plain", number): measured(
            f"plain-{number}",
            {**config, "data": [SAE_SEED, settings.documents]},
            partial(measure_plain, model.folder, settings),
        ),
    }
    for plan, seed in plans(settings, number):
        sae = saes[number, plan.name, seed]
        found["saes", f"{number}/{plan.name}/{seed}"] = measured(
            f"measure-{number}-{plan.name}-{seed}",
            {**config, "sae": sae.key},
            partial(measure_sae, sae.folder, plan, model.folder, control.folder, settings),
        )
    return found


def trials(
    number: int,
    model: Made,
    saes: Mapping[Name, Made],
    results: Mapping[str, Any],
    settings: Settings,
    *,
    random: bool,
) -> dict[str, Stage]:
    """Steering on a model: with random directions, or with everything else."""
    config = {"model": model.key, "code": quality_source(), "trials": trial_source()}
    strengths = strengths_of(results, number, settings) if random else {}
    return {
        f"{number}/{name}/{seed}": measured(
            f"steer-{number}-{name}-{seed}",
            {**config, "sae": sae.key, "settings": trial_settings(settings)},
            partial(trial, sae.folder, model.folder, what, seed, settings, strengths),
        )
        for name, seed, sae, what in steered(settings, number, saes)
        if (what == "random") == random
    }


def trial_settings(settings: Settings) -> list[int]:
    """Those that steering depends on."""
    return [settings.prompts, settings.draws, settings.held_out]


def plans(settings: Settings, number: int) -> Iterator[tuple[Plan, int]]:
    """What is trained on a model: all seeds of each, but one of the attention SAE."""
    for plan in PLANS:
        alone = plan.hook != RESIDUAL
        # The control knows nothing of any language model: once is enough.
        if (alone or plan.kind == "untrained") and number != MODELS[0]:
            continue
        for seed in settings.seeds[:1] if alone else settings.seeds:
            yield plan, seed


def steered(
    settings: Settings, number: int, saes: Mapping[Name, Made]
) -> Iterator[tuple[str, int, Made, str]]:
    """What is steered with on a model: name, seed, SAE, and the kind of direction."""
    for name in STEERED:
        for seed in settings.seeds:
            yield name, seed, saes[number, name, seed], "features"
    default = saes[number, STEERED[0], settings.seeds[0]]
    yield "diffmean", 0, default, "diffmean"
    for seed in settings.seeds:
        yield "random", seed, default, "random"
    if number == MODELS[0]:
        for name in ALSO_STEERED:
            yield name, settings.seeds[0], saes[number, name, settings.seeds[0]], "features"


def trial(
    folder: Path,
    model: Path,
    what: str,
    seed: int,
    settings: Settings,
    strengths: Mapping[str, float],
) -> dict[str, Any]:
    """Steer towards every topic (and, with real features, every register, mood and tense)."""
    sae = load_sae(folder / "sae")
    if what == "diffmean":
        return steer_with(sae, model, differences(model, settings), settings)
    if what == "random":
        return steer_at_random(sae, model, strengths, seed, settings)
    every = seed == settings.seeds[0] and sae.placebo is None
    features: dict[str, list[Any]] = dict(best_features(sae, model, settings, ("topic",), 3))
    if every:
        features |= best_features(sae, model, settings, ("register", "mood", "tense"), 2)
    return steer_with(sae, model, features, settings, compositions=every)


def strengths_of(results: Mapping[str, Any], number: int, settings: Settings) -> dict[str, float]:
    """The strengths that the default SAE was steered with: what random directions get too."""
    outcome = results["steering"].get(f"{number}/{STEERED[0]}/{settings.seeds[0]}", {})
    concepts = outcome.get("concepts", {})
    return {c: one["strength"] for c, one in concepts.items() if c.startswith("topic:")}


def stability(saes: Mapping[Name, Made], settings: Settings) -> dict[str, float]:
    """How alike the dictionaries of two seeds are; a frozen decoder shows what chance gives."""
    found: dict[str, list[float]] = {}
    for number in settings.models:
        for plan in PLANS:
            seeds = [s for s in settings.seeds if (number, plan.name, s) in saes]
            decoders = [
                load_sae(saes[number, plan.name, seed].sae).W_dec.detach() for seed in seeds
            ]
            pairs = [(a, b) for a in decoders for b in decoders if a is not b]
            found.setdefault(plan.name, []).extend(likeness(a, b) for a, b in pairs)
    return {name: sum(all_) / len(all_) for name, all_ in found.items() if all_}


def label_all(
    folders: Sequence[Path], model: Path, results: Mapping[str, Any], settings: Settings
) -> dict[str, dict[str, Any]]:
    """Names, and how to steer with them, for the features of the SAEs that ship.

    A strength is in peaks, at the first token that it acts on.
    """
    truth = truth_of(model, settings.held_out)
    encoder = opened(model).tokenizer
    shown = {i: piece.shown for i, piece in enumerate(pieces(encoder, range(len(encoder))))}
    shown = {i: text.replace("·", " ") for i, text in shown.items()}
    named = {}
    for folder in folders:
        sae = load_sae(folder)
        values = encoded(sae, held_out_rows(model, sae.hook, settings.held_out))
        found = {str(i): label.to_json() for i, label in labels(values, truth, shown).items()}
        tried = results["steering"].get(f"{settings.models[0]}/{sae.name}/{settings.seeds[0]}")
        for concept, outcome in (tried or {"concepts": {}})["concepts"].items():
            # What a feature writes names it where what it reads has not.
            entry = found.get(str(outcome["feature"]), {})
            # Of what the model writes alone 93 % parse, and to go far may cost some of that.
            good = outcome["share"] >= 0.6 and outcome["parsed"] >= 0.75
            read = str(entry.get("concept", concept)).split(" & ")[0]  # verbs of the sea are sea
            if good and read == concept:
                entry |= {"label": human(concept), "concept": concept}
                edit = push(outcome["feature"], outcome["strength"]).to_json()
                course = {"where": edit["where"], "schedule": edit["schedule"]}
                strength = round(outcome["peak"], 2)
                found[str(outcome["feature"])] = {**entry, "strength": strength, **course}
        named[sae.name] = found
    return named


def write(
    out: Path,
    model: Path,
    shipped: Sequence[Made],
    named: Mapping[str, Any],
    results: Mapping[str, Any],
    settings: Settings,
) -> None:
    """Write the folder that ships, beside the old one, then put it in its place."""
    new = out.with_name(f".{out.name}-new")
    shutil.rmtree(new, ignore_errors=True)
    (new / "model").mkdir(parents=True)
    for path in sorted(model.iterdir()):
        if path.is_file() and path.name not in ("stage.json", "training_args.bin"):
            shutil.copy2(path, new / "model" / path.name)
    for name, made in zip(SHIPPED, shipped, strict=True):
        shutil.copytree(made.sae, new / "saes" / name)
    (new / "labels.json").write_text(dump(named), encoding="utf-8")
    summary = report.summary(results, settings.models, settings.seeds)
    (new / "quality.json").write_text(dump(summary), encoding="utf-8")
    (new / "quality.md").write_text(report.markdown(summary), encoding="utf-8")
    files = sorted(path for path in new.rglob("*") if path.is_file())
    manifest = {
        "made by": "python -m sae_widgets.demo.train",
        "saes": SHIPPED,
        "settings": asdict(settings),
        "seeds": {
            "model": settings.models[0],
            "sae": settings.seeds[0],
            "corpus": language_model.CORPUS_SEED,
            "sae documents": SAE_SEED,
        },
        "versions": versions(),
        "files": {
            path.relative_to(new).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        },
    }
    (new / "manifest.json").write_text(dump(manifest), encoding="utf-8")
    old = out.with_name(f".{out.name}-old")
    shutil.rmtree(old, ignore_errors=True)
    if out.exists():
        out.rename(old)
    new.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def dump(value: Any) -> str:
    """JSON as it is kept: sorted, readable, ending with a newline."""
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def count_stages(settings: Settings) -> int:
    """How many stages the bar counts."""
    once = ("corpus", "untrained", "labels", "writing")
    total = len(settings.models) + len(ALSO_STEERED) + len(once)
    for number in settings.models:
        saes = len(list(plans(settings, number)))
        plain, trials = len(["language", "plain"]), (len(STEERED) + 1) * len(settings.seeds) + 1
        total += plain + 2 * saes + trials
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[1], prog="demo.train")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE / "data", help="what ships")
    parser.add_argument("--work", type=Path, default=Path("demo-work"), help="stages in between")
    parser.add_argument("--rehearse", action="store_true", help="everything, tiny: a few minutes")
    given = parser.parse_args()
    settings = REHEARSAL if given.rehearse else Settings()
    remake(given.folder, given.work, settings)


REHEARSAL = Settings(
    lm_steps=60,
    documents=600,
    sae_steps=60,
    sae_batch=512,
    held_out=120,
    floor=4,
    prompts=2,
    draws=1,
    samples=8,
    models=(0,),
    seeds=(0, 1),
)


if __name__ == "__main__":
    main()
