"""FVU at several L0 of SAEs that we train and that SAELens trains; prints a line of JSON a kind.

`tests/parity/run FOLDER` makes an environment with SAELens; `FOLDER/bin/python
tests/benchmarks/curve.py` there trains on the demo's activations, and with `--model FOLDER --texts
FILE` (a JSON list) on those of another model. Width, k, steps, batches, warm-up and decay of the
learning rate are the same. We train with the rate that a `Recipe` has by itself; SAELens, which
has none, is tried with three and the best curve counts. All are measured by us, on vectors that
none was trained on, as they were saved.

ours, SAELens   of each k and seed: FVU, L0 and the share of dead features on held-out vectors
ratio           of each k, our FVU / SAELens's at the L0 of SAELens: below 1 we reconstruct better
noise           of each k, the largest distance of a seed's FVU from the mean, as a share of it
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from kinds import KINDS, untrained
from torch import Tensor

from sae_widgets.demo import world
from sae_widgets.demo.load import DATA
from sae_widgets.formats import load_sae
from sae_widgets.model import Model, load_model
from sae_widgets.sae import SAE
from sae_widgets.training import Recipe, Rows, collect
from sae_widgets.training.quality import fidelity
from sae_widgets.training.trainer import fit

RATES = (1e-3, 3e-3, 1e-2)
HELD_OUT = 20_000
CONTEXT = 256

Curve = list[list[dict[str, float]]]
"""Of each k and seed what was measured."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--model", type=Path, default=DATA / "model")
    parser.add_argument("--texts", type=Path, help="a JSON list of strings; else Postcards")
    parser.add_argument("--hook", default="blocks.3.hook_resid_post")
    parser.add_argument("--d-sae", type=int, default=512)
    parser.add_argument("--k", type=int, nargs="+", default=[8, 16, 32])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=1024)
    told = parser.parse_args()
    rows = activations(told)
    trained, held_out = rows[:-HELD_OUT], rows[-HELD_OUT:]
    for kind in told.kinds:
        print(json.dumps(curves(kind, trained, held_out, told)), flush=True)


def curves(kind: str, rows: Tensor, held_out: Tensor, told: argparse.Namespace) -> dict[str, Any]:
    """Both trainers' curves of one kind."""
    ours: Curve = []
    tried: dict[float, Curve] = {rate: [] for rate in RATES}
    for k in told.k:
        recipes = [recipe(kind, k, seed, told).filled(rows.shape[1]) for seed in range(told.seeds)]
        ours.append([measured(fit(Rows(rows), each, progress=False), held_out) for each in recipes])
        for rate, curve in tried.items():
            curve.append([measured(saelens(rows, each, kind, rate), held_out) for each in recipes])
    best = max(RATES, key=lambda rate: statistics.mean(ratios(ours, tried[rate])))
    return {
        "model": told.model.name if told.texts else "postcards",
        "kind": kind,
        "k": told.k,
        "vectors": len(rows),
        "ours": ours,
        "SAELens": {f"lr {rate}": curve for rate, curve in tried.items()},
        "ratio": [round(ratio, 3) for ratio in ratios(ours, tried[best])],
        "noise": [round(max(map(spread, both)), 3) for both in zip(ours, tried[best], strict=True)],
    }


def recipe(kind: str, k: int, seed: int, told: argparse.Namespace) -> Recipe:
    objective = KINDS[kind](k)
    return Recipe(told.hook, told.d_sae, objective, steps=told.steps, batch=told.batch, seed=seed)


def ratios(ours: Curve, theirs: Curve) -> list[float]:
    """At each of their points. Between ours, log FVU is taken for a parabola in log L0."""
    found, wanted = means(ours), means(theirs)
    bend = np.polyfit(np.log(found["l0"]), np.log(found["fvu"]), 2)
    expected = np.exp(np.polyval(bend, np.log(wanted["l0"])))
    return [float(ratio) for ratio in expected / wanted["fvu"]]


def means(curve: Curve) -> dict[str, Any]:
    return {
        what: np.array([statistics.mean(seed[what] for seed in point) for point in curve])
        for what in ("fvu", "l0")
    }


def spread(point: list[dict[str, float]]) -> float:
    mean = statistics.mean(seed["fvu"] for seed in point)
    return max(abs(seed["fvu"] - mean) for seed in point) / mean


def measured(sae: SAE, held_out: Tensor) -> dict[str, float]:
    found = fidelity(sae, held_out)
    return {"fvu": round(found.fvu, 4), "l0": round(found.l0, 2), "dead": round(found.dead, 3)}


def saelens(rows: Tensor, recipe: Recipe, kind: str, rate: float) -> SAE:
    """What SAELens's trainer makes of the same vectors, in an order of its own."""
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    assert recipe.d_sae is not None
    assert recipe.objective is not None
    torch.manual_seed(recipe.seed)
    sae = untrained(
        kind,
        d_in=rows.shape[1],
        d_sae=recipe.d_sae,
        k=recipe.objective.target,
        normalize_activations="expected_average_only_in",
    )
    config = SAETrainerConfig(
        total_training_samples=recipe.steps * recipe.batch,
        train_batch_size_samples=recipe.batch,
        lr=rate,
        lr_end=rate / 10,
        lr_warm_up_steps=round(recipe.warmup * recipe.steps),
        lr_decay_steps=round(recipe.decay * recipe.steps),
        dead_feature_window=recipe.silence,
        n_batches_for_norm_estimate=30,
    )
    trained: Any = SAETrainer(config, sae, shuffled(rows, recipe)).fit()
    with tempfile.TemporaryDirectory() as folder:
        trained.save_inference_model(folder)
        return load_sae(folder, hook=recipe.hook)


def shuffled(rows: Tensor, recipe: Recipe) -> Iterator[Tensor]:
    """Batches without end; nothing twice before all was seen."""
    generator = torch.Generator().manual_seed(recipe.seed)
    while True:
        order = torch.randperm(len(rows), generator=generator)
        for some in torch.split(order, recipe.batch)[: len(rows) // recipe.batch]:
            yield rows[some]


def activations(told: argparse.Namespace) -> Tensor:
    """Of ordinary tokens, each text behind the special token that begins it."""
    model: Model = load_model(told.model, device="cpu")
    if told.texts is None:
        texts = [document.text for document in world.documents(500_000, 6_000)]
    else:
        texts = json.loads(told.texts.read_text(encoding="utf-8"))
    start = [model.tokenizer.bos_token_id]
    found = model.tokenizer(texts, add_special_tokens=False)["input_ids"]
    return collect(model, told.hook, [[*start, *ids][:CONTEXT] for ids in found])


if __name__ == "__main__":
    main()
