"""What edits and arms cost; prints a line of JSON for each model.

`python tests/benchmarks/steering.py [MODEL ...]` measures, on the demo's model, on random ones of
GPT-2 small's size (`gpt2`, some minutes) and of Llama's kind (`llama`), or on Hugging
Face models in folders, ratios of medians taken in turn:

edited      a run under five edits, to the same run without any (budget 1.05)
pair        base and steered together, to Hugging Face's own `generate` of one text (budget 1.3)
eight       eight arms in one batch, to one arm (budget 1.5)
receipt     measuring a run once more, to the run
move        from a moved slider to the first steered token, the prompt being remembered, the edits
            those of generated tokens: to one decode step (budget 1.3)
prompt      the same with edits on the prompt, of 64 tokens: to the layers above the hook reading it
            (budget 1.2)

and how much longer a step takes the bare network with two rows, and with eight: what no code of
ours can better.
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import sae_widgets as sw
from sae_widgets.demo.load import load_demo
from sae_widgets.model import resting
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.receipt import receipt

NEW = 64
ROUNDS = 5


class Enough(Exception):
    """All has been seen that was to be timed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=["demo", *RANDOM])
    demo = load_demo().model
    for name in parser.parse_args().models:  # they need not all be in memory at once
        if name in RANDOM:
            model = sw.load_model(RANDOM[name](), demo.tokenizer)
        else:
            model = demo if name == "demo" else sw.load_model(name)
        found = {"model": name, "threads": torch.get_num_threads(), "new tokens": NEW}
        print(json.dumps(found | ratios(model)), flush=True)


def small() -> nn.Module:
    """Twelve layers of 768, as GPT-2 small; what it says does not matter here."""
    torch.manual_seed(0)
    return GPT2LMHeadModel(GPT2Config()).eval()


def llama() -> nn.Module:
    """Eight layers of 512, of Llama's kind: rotary positions, grouped heads, a gated MLP."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=512,
        intermediate_size=1376,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=4,
    )
    return LlamaForCausalLM(config).eval()


RANDOM = {"gpt2": small, "llama": llama}


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

    late = sw.Arm("late", tuple(replace(edit, where="generated") for edit in edits))
    prompts = Prompts()
    with torch.inference_mode():
        begun = prompts.begin(model, ids, 2)
    assert begun is not None

    def move() -> None:
        seen = []

        def tell(step: list[int | None]) -> None:
            seen.append(step)
            if len(seen) == 2:  # the first token is drawn before anything is edited
                raise Enough

        with suppress(Enough):
            sw.generate(
                model, sae, ids, [base, late], max_new_tokens=3, prompts=prompts, on_step=tell
            )

    long = ids * 8
    below = prompts.below(model, long, layer + 1)
    assert below is not None
    both = torch.tensor([long] * 2)

    def prompt() -> None:
        def tell(_: list[int | None]) -> None:
            raise Enough

        with suppress(Enough):
            sw.generate(
                model, sae, long, [base, steered], max_new_tokens=1, prompts=prompts, on_step=tell
            )

    def above() -> None:
        with torch.inference_mode(), resting(model, below, 2):
            network(input_ids=both, use_cache=True, logits_to_keep=1)

    def step() -> None:
        with torch.inference_mode():
            begun[1].advance(torch.tensor([[5], [9]]))

    def plain() -> None:
        with torch.inference_mode():
            network.generate(start, attention_mask=torch.ones_like(start), **options)

    def bare(rows: int) -> Callable[[], None]:
        def decode() -> None:
            with torch.inference_mode():
                network(input_ids=token, past_key_values=copy.deepcopy(cache), use_cache=True)

        token = torch.full((rows, 1), 5)
        with torch.inference_mode():
            cache = network(input_ids=torch.tensor([ids] * rows), use_cache=True).past_key_values
        return decode

    done = run(base, steered)
    times = in_turn(
        base=lambda: run(base),
        edited=lambda: run(steered),
        pair=lambda: run(base, steered),
        eight=lambda: run(*eight),
        plain=plain,
        receipt=lambda: receipt(model, sae, done),
    )
    # A slider moves again and again, so neither of what is compared comes after something else.
    times |= in_turn(6 * ROUNDS, move=move, step=step)
    times |= in_turn(6 * ROUNDS, prompt=prompt, above=above)
    times |= in_turn(6 * ROUNDS, one=bare(1), two=bare(2), many=bare(8))
    return {
        "edited / unedited": times["edited"] / times["base"],
        "base and steered / generate of Hugging Face": times["pair"] / times["plain"],
        "eight arms / one": times["eight"] / times["edited"],
        "receipt / run": times["receipt"] / times["pair"],
        "first steered token after a move / decode step": times["move"] / times["step"],
        "first token after a move on the prompt / layers above": times["prompt"] / times["above"],
        "two rows / one, the bare network": times["two"] / times["one"],
        "eight rows / one, the bare network": times["many"] / times["one"],
        "one arm, tokens a second": NEW / times["base"],
    }


def in_turn(rounds: int = ROUNDS, /, **calls: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each, measured one after another so that noise meets all alike."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + rounds):
        for name, call in calls.items():
            begun = time.perf_counter()
            call()
            taken[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}


if __name__ == "__main__":
    main()
