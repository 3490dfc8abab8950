"""What edits and arms cost; prints JSON.

`python tests/benchmarks/steering.py [FOLDER ...]` measures, on the demo's model, on a random one of
GPT-2 small's size, and on Hugging Face models in folders, ratios of medians taken in turn:

edited      a run under five edits, to the same run without any (budget 1.05)
pair        base and steered together, to Hugging Face's own `generate` of one text (budget 1.3)
eight       eight arms in one batch, to one arm (budget 1.5)
receipt     measuring a run once more, to the run
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import GPT2Config, GPT2LMHeadModel

import sae_widgets as sw
from sae_widgets.demo.load import load_demo
from sae_widgets.steering.receipt import receipt

NEW = 64
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="*", help="folders of Hugging Face models")
    demo = load_demo()
    models = {"demo": demo.model, "random, GPT-2 small's size": small(demo.model.tokenizer)}
    models |= {folder: sw.load_model(folder) for folder in parser.parse_args().folders}
    found = {name: ratios(model) for name, model in models.items()}
    print(json.dumps({"threads": torch.get_num_threads(), "new tokens": NEW, **found}, indent=1))


def small(tokenizer: Any) -> Any:
    """Twelve layers of 768, as GPT-2 small; what it says does not matter here."""
    torch.manual_seed(0)
    return sw.load_model(GPT2LMHeadModel(GPT2Config()).eval(), tokenizer)


def ratios(model: Any) -> dict[str, float]:
    width, layer = model.cfg.d_model, model.cfg.n_layers // 2
    sae = sw.SAE(width, 4 * width, f"blocks.{layer}.hook_resid_post").requires_grad_(False)
    edits = (
        *(sw.Add(feature, 0.01, unit="raw") for feature in range(3)),
        sw.Set(7, 0.01, unit="raw"),
        sw.Scale(9, 1.01),
    )
    base, steered = sw.Arm("base"), sw.Arm("steered", edits)
    eight = [base, *(sw.Arm(str(i), edits) for i in range(7))]
    ids = [5, 9, 40, 7, 12, 30, 8, 3]
    network = model.original_model
    start = torch.tensor([ids])
    options = {"max_new_tokens": NEW, "min_new_tokens": NEW, "do_sample": False, "pad_token_id": 0}

    def run(*arms: sw.Arm) -> Any:
        return sw.generate(model, sae, ids, arms, max_new_tokens=NEW)

    def plain() -> None:
        with torch.inference_mode():
            network.generate(start, attention_mask=torch.ones_like(start), **options)

    done = run(base, steered)
    times = in_turn(
        base=lambda: run(base),
        edited=lambda: run(steered),
        pair=lambda: run(base, steered),
        eight=lambda: run(*eight),
        plain=plain,
        receipt=lambda: receipt(model, sae, done),
    )
    return {
        "edited / unedited": times["edited"] / times["base"],
        "base and steered / generate of Hugging Face": times["pair"] / times["plain"],
        "eight arms / one": times["eight"] / times["edited"],
        "receipt / run": times["receipt"] / times["pair"],
        "one arm, tokens a second": NEW / times["base"],
    }


def in_turn(**calls: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each, measured one after another so that noise meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + ROUNDS):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


if __name__ == "__main__":
    main()
