"""What a step of training costs here, in SAELens and in sparsify; prints a line of JSON for each.

`tests/parity/run FOLDER` makes an environment with SAELens, `pip install eai-sparsify` there adds
sparsify; then `FOLDER/bin/python tests/benchmarks/training.py` trains SAEs of the same width, with
the same k, on the same activations. Steps are taken in turn, ours inside `transformers.Trainer`,
theirs as their own trainers take them, with Adam, on a batch like ours:

seconds   median of a step: forward, backward, clipping, Adam, and what each keeps count of
memory    megabytes at the most, beyond libraries and activations, each in a process of its own
ratios    theirs / ours: above 1 we are ahead
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from kinds import KINDS, untrained
from torch import Tensor
from transformers import TrainerCallback

from sae_widgets.training import Recipe, Rows, SAETrainer
from sae_widgets.training.trainer import Learners, arguments, started

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

Step = Callable[[Tensor], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS))
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--d-sae", type=int, default=8192)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--alone", help="only the memory of this one, as megabytes")
    told = parser.parse_args()
    if told.alone is not None:
        print(grown(told))
        return
    about = {"device": DEVICE, "threads": torch.get_num_threads()}
    sizes = {name: getattr(told, name) for name in ("d_model", "d_sae", "k", "batch")}
    for kind in told.kinds:
        times = in_turn(kind, told)
        memory = {name: alone(kind, name, told) for name in times} if DEVICE == "cpu" else {}
        found = {"kind": kind, **about, **sizes, "seconds": times, "memory": memory}
        ratios = {
            what: {name: round(some[name] / some["ours"], 2) for name in some if name != "ours"}
            for what, some in (("seconds", times), ("memory", memory))
        }
        print(json.dumps({**found, "ratios": ratios}), flush=True)


def in_turn(kind: str, told: argparse.Namespace) -> dict[str, float]:
    """Median seconds of a step of each; the first ones, in which all warm up, are left out."""
    others = rivals(kind, told)
    taken: dict[str, list[float]] = {name: [] for name in ("ours", *others)}

    class InTurn(TrainerCallback):
        """Times our step, then lets each of the others make one."""

        begun = 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            self.begun = now()

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            taken["ours"].append(now() - self.begun)
            rows = activations(told, seed=state.global_step)
            for name, step in others.items():
                begun = now()
                step(rows)
                taken[name].append(now() - begun)

    ours(kind, told, [InTurn()])
    return {name: round(statistics.median(times[2:]), 4) for name, times in taken.items()}


def ours(kind: str, told: argparse.Namespace, callbacks: list[TrainerCallback]) -> None:
    """As many steps as there are to be made."""
    recipe = Recipe(
        "h",
        told.d_sae,
        KINDS[kind](told.k),
        steps=told.steps,
        batch=told.batch,
        lr=2e-4,
        patience=1.0,  # in so few steps no feature is dead, for theirs neither
    ).filled(told.d_model)
    rows = torch.cat([activations(told, seed) for seed in range(told.steps)])
    learners = Learners([started(recipe, {"h": rows[:8192]})])
    with tempfile.TemporaryDirectory() as folder:
        settings = arguments(recipe, folder)
        SAETrainer(learners, Rows(rows), settings, callbacks=callbacks, progress=False).train()


def rivals(kind: str, told: argparse.Namespace) -> dict[str, Step]:
    """How others make a step of this kind."""
    found: dict[str, Step] = {}
    if find_spec("sae_lens") is not None:
        found["SAELens"] = saelens(kind, told)
    if find_spec("sparsify") is not None and kind == "TopK":
        found["sparsify"] = sparsify(told)
    return found


def saelens(kind: str, told: argparse.Namespace) -> Step:
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer as TheirTrainer

    sae = untrained(kind, d_in=told.d_model, d_sae=told.d_sae, k=told.k, device=DEVICE)
    config = SAETrainerConfig(
        total_training_samples=told.steps * told.batch,
        train_batch_size_samples=told.batch,
        lr=2e-4,
        lr_end=2e-5,
        device=DEVICE,
    )
    trainer = TheirTrainer(config, sae, iter(()))
    return lambda x: trainer._train_step(sae, x)


def sparsify(told: argparse.Namespace) -> Step:
    """What its `Trainer.fit` does for one SAE: a step that it has only together with a model."""
    if DEVICE == "cpu":
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from sparsify import SparseCoder, SparseCoderConfig

    config = SparseCoderConfig(num_latents=told.d_sae, k=told.k)
    sae = SparseCoder(told.d_model, config, DEVICE, dtype=torch.float32)
    optimizer = torch.optim.Adam(sae.parameters(), lr=2e-4)
    silent = torch.zeros(told.d_sae, dtype=torch.long, device=DEVICE)

    def step(x: Tensor) -> None:
        sae.set_decoder_norm_to_unit_norm()
        out = sae(x=x, y=x, dead_mask=silent > 10_000_000)
        fired = torch.zeros_like(silent, dtype=torch.bool)
        fired[out.latent_indices.flatten()] = True
        (out.fvu + out.auxk_loss / 32).backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        optimizer.step()
        optimizer.zero_grad()
        silent.add_(len(x))
        silent[fired] = 0

    return step


def activations(told: argparse.Namespace, seed: int) -> Tensor:
    """A batch that has structure: few of many directions, off the origin, and noise."""
    fixed = torch.Generator().manual_seed(0)
    directions = torch.randn(2048, told.d_model, generator=fixed)
    generator = torch.Generator().manual_seed(1 + seed)
    chosen = torch.randint(2048, (told.batch, 16), generator=generator)
    strength = 0.5 + torch.rand(told.batch, 16, generator=generator)
    x = torch.nn.functional.embedding_bag(
        chosen, directions, per_sample_weights=strength, mode="sum"
    )
    return (x + torch.randn(x.shape, generator=generator) + 1.0).to(DEVICE)


def now() -> float:
    if DEVICE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def alone(kind: str, name: str, told: argparse.Namespace) -> int:
    """The memory of one of them, in a process where nothing else was ever held."""
    sizes = [
        f"--{size.replace('_', '-')}={getattr(told, size)}"
        for size in ("d_model", "d_sae", "k", "batch")
    ]
    command = [sys.executable, "-W", "ignore", __file__, kind, *sizes, "--steps=4"]
    done = subprocess.run([*command, f"--alone={name}"], capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def grown(told: argparse.Namespace) -> int:
    """How many megabytes more than before this process holds at the most in a few steps."""
    (kind,) = told.kinds
    small = argparse.Namespace(**{**vars(told), "d_sae": 64, "k": 4})  # brings the libraries in
    if told.alone == "ours":
        ours(kind, small, [])
        before = reset()
        ours(kind, told, [])  # which makes the activations, too
        own = told.steps * told.batch * told.d_model * 4 // 1024
    else:
        rows = [activations(told, seed) for seed in range(told.steps)]
        rivals(kind, small)[told.alone](rows[0])
        before, own = reset(), 0
        step = rivals(kind, told)[told.alone]
        for x in rows:
            step(x)
    return round((status("VmHWM") - before - own) / 1024)


def reset() -> int:
    """The kilobytes that are held now; Linux forgets how many were held at the most."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def status(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


if __name__ == "__main__":
    main()
