"""What training costs with its activations, here, in SAELens and in sparsify; prints JSON lines.

`tests/parity/run FOLDER` makes an environment with SAELens, `pip install eai-sparsify` there adds
sparsify; then `FOLDER/bin/python tests/benchmarks/harvest.py` trains TopK SAEs of the same width,
with the same k, on the same texts and the same real model: the demo's, or any folder that
transformers reads (--model, with --texts a file of JSON that holds a list of strings). Each
measurement is a process of its own, and they take turns:

tokens    a second, from reading texts to Adam's step; the first steps, in which all warm up, are
          left out, and the buffer is filled as often in all that have one
memory    megabytes at the most, beyond libraries and the model
ratios    of the medians: above 1 we are ahead

SAELens reads the model through its own HookedProxyLM, with its ActivationsStore. sparsify has no
buffer: it trains on the tokens in the order in which they are read, which are cut into contexts
beforehand. SAELens and sparsify pack
texts into full contexts, where ours begins each with its own text.
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
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from training import reset, status
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

import sae_widgets as sw
from sae_widgets.demo.load import DATA
from sae_widgets.demo.world import documents

WARM = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(DATA / "model"))
    parser.add_argument("--texts", help="JSON: a list of strings; else the demo's own world")
    parser.add_argument("--layer", type=int, default=1)
    parser.add_argument("--d-sae", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--context", type=int, default=64)
    parser.add_argument("--buffer", type=int, default=8, help="in batches")
    parser.add_argument("--steps", type=int, default=36)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", help="only this one, once")
    told = parser.parse_args()
    if told.alone is not None:
        print(json.dumps(measured(told)))
        return
    systems = {"ours": "sae_widgets", "SAELens": "sae_lens", "sparsify": "sparsify"}
    found: dict[str, list[dict[str, float]]] = {
        name: [] for name, package in systems.items() if find_spec(package) is not None
    }
    for number in range(told.rounds):
        for name, each in found.items():
            each.append(alone(name))
            print(json.dumps({"round": number, "system": name, **each[-1]}), flush=True)
    medians = {
        name: {what: statistics.median(one[what] for one in each) for what in ("tokens", "memory")}
        for name, each in found.items()
    }
    mine = medians["ours"]
    ratios = {
        name: {
            "tokens": round(mine["tokens"] / each["tokens"], 2),
            "memory": round(each["memory"] / mine["memory"], 2),
        }
        for name, each in medians.items()
        if name != "ours"
    }
    sizes = {name: getattr(told, name) for name in ("d_sae", "k", "batch", "context", "steps")}
    about = {"model": Path(told.model).name, "threads": torch.get_num_threads(), **sizes}
    print(json.dumps({**about, "medians": medians, "ratios": ratios}))


def alone(name: str) -> dict[str, float]:
    """One measurement, in a process where nothing else was ever held."""
    command = [sys.executable, "-W", "ignore", __file__, *sys.argv[1:], f"--alone={name}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(told: argparse.Namespace) -> dict[str, float]:
    times, before = {"ours": ours, "SAELens": saelens, "sparsify": sparsify}[told.alone](told)
    taken = times[-1] - times[WARM]
    return {
        "tokens": round(told.batch * (len(times) - 1 - WARM) / taken),
        "memory": round((status("VmHWM") - before) / 1024),
    }


Found = tuple[list[float], int]
"""When each step ended, and the kilobytes that were held before the first."""


def ours(told: argparse.Namespace) -> Found:
    model, times = sw.load_model(told.model), []
    texts = texts_of(told)

    class Clock(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
            times.append(time.perf_counter())

    recipe = sw.Recipe(
        f"blocks.{told.layer}.hook_resid_post",
        told.d_sae,
        sw.TopK(told.k),
        steps=told.steps,
        batch=told.batch,
        context=told.context,
        buffer=told.buffer * told.batch,
        lr=2e-4,
        patience=1.0,  # in so few steps no feature is dead, for theirs neither
    )
    before = reset()
    sw.train(model, texts, recipe, callbacks=[Clock()], progress=False)
    return times, before


def saelens(told: argparse.Namespace) -> Found:
    from datasets import Dataset
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.config import SAETrainerConfig
    from sae_lens.load_model import load_model
    from sae_lens.training.activations_store import ActivationsStore
    from sae_lens.training.sae_trainer import SAETrainer

    model = load_model("AutoModelForCausalLM", told.model, device="cpu")
    model.eval()
    names = [name for name, _ in model.model.named_modules()]
    (hook,) = (name for name in names if name.endswith(f".{told.layer}") and name.count(".") == 2)
    d_in = model.model.config.hidden_size
    before = reset()
    store = ActivationsStore(
        model=model,
        dataset=Dataset.from_dict({"text": texts_of(told)}),
        streaming=False,
        hook_name=hook,
        hook_head_index=None,
        context_size=told.context,
        d_in=d_in,
        n_batches_in_buffer=told.buffer * told.batch // told.context,
        total_training_tokens=told.steps * told.batch,
        store_batch_size_prompts=max(1, told.batch // told.context),
        train_batch_size_tokens=told.batch,
        prepend_bos=True,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
    )
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(d_in=d_in, d_sae=told.d_sae, k=told.k))
    config = SAETrainerConfig(
        total_training_samples=told.steps * told.batch,
        train_batch_size_samples=told.batch,
        lr=2e-4,
        lr_end=2e-5,
        device="cpu",
    )
    trainer: Any = SAETrainer(config, sae, store)
    times = []
    for x in islice(store, told.steps):
        trainer._train_step(sae, x)
        times.append(time.perf_counter())
    return times, before


def sparsify(told: argparse.Namespace) -> Found:
    os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
    from datasets import Dataset
    from sparsify import SparseCoder, SparseCoderConfig, TrainConfig, Trainer

    network = AutoModelForCausalLM.from_pretrained(told.model, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(told.model)
    rows = told.batch // told.context
    ids = [i for text in texts_of(told) for i in tokenizer(text)["input_ids"]]
    wanted = told.steps * told.batch
    ids = (ids * (1 + wanted // len(ids)))[:wanted]
    contexts = torch.tensor(ids).view(-1, told.context)
    dataset = Dataset.from_dict({"input_ids": contexts}).with_format("torch")
    times: list[float] = []
    forward = SparseCoder.forward

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        times.append(time.perf_counter())
        return forward(self, *args, **kwargs)

    SparseCoder.forward = timed
    before = reset()
    with tempfile.TemporaryDirectory() as folder:
        config = TrainConfig(
            SparseCoderConfig(num_latents=told.d_sae, k=told.k),
            batch_size=rows,
            optimizer="adam",
            lr=2e-4,
            layers=[told.layer],
            log_to_wandb=False,
            save_every=10**9,
            save_dir=folder,
        )
        Trainer(config, dataset, network).fit()
    return times, before


def texts_of(told: argparse.Namespace) -> list[str]:
    """What all systems read; those of the demo are few, as they are slow to make."""
    if told.texts is not None:
        return list(json.loads(Path(told.texts).read_text(encoding="utf-8")))
    return [document.text for document in documents(0, 300)]


if __name__ == "__main__":
    main()
