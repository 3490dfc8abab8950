"""What the same steered generation takes elsewhere; prints JSON.

`python tests/benchmarks/others.py` lets the models of steering.py write 64 tokens greedily while a
feature's direction is added at one hook, to every token. Ratios of medians taken in turn, to the
time that sae_widgets takes:

TransformerLens   `model.hooks` around the same bridge's own `generate`
SAETransformerBridge, HookedSAETransformer
                  SAELens's two models with the SAE spliced in, its error kept, and the feature
                  raised; the second has random weights and GPT-2's shape. Only in the environment
                  of tests/parity/run
"""

from __future__ import annotations

import copy
import json
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from steering import NEW, RANDOM, in_turn
from tokenizers import Tokenizer, models
from torch import Tensor
from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

import sae_widgets as sw
from sae_widgets.demo.load import DATA, load_demo

IDS = [5, 9, 40, 7, 12, 30, 8, 3]
FEATURE, STRENGTH = 7, 0.5


def main() -> None:
    network = GPT2LMHeadModel.from_pretrained(DATA / "model", dtype=torch.float32).eval()
    found = {"demo": ratios(network, load_demo().model.tokenizer)}
    for name, make in RANDOM.items():
        network = make()
        found[name] = ratios(network, numbers(network.config.vocab_size))
    print(json.dumps({"threads": torch.get_num_threads(), "new tokens": NEW, **found}, indent=1))


def numbers(count: int) -> PreTrainedTokenizerFast:
    """A tokenizer with a token for each logit: sae_widgets writes none that it does not know."""
    words = models.WordLevel({str(token): token for token in range(count)}, unk_token="0")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="0", bos_token="0")


def ratios(network: Any, tokenizer: Any) -> dict[str, float]:
    twin = copy.deepcopy(network)
    model = sw.load_model(network, tokenizer)
    width, layer = model.cfg.d_model, model.cfg.n_layers // 2
    torch.manual_seed(1)
    # As wide as the published SAEs of GPT-2 small: 24,576 features for 768.
    sae = sw.SAE(width, 32 * width, f"blocks.{layer}.hook_resid_post").requires_grad_(False)
    push = sw.Arm("push", (sw.Add(FEATURE, STRENGTH, unit="raw"),))
    direction = STRENGTH * sae.W_dec[FEATURE]

    def added(activation: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        return activation + direction

    calls = {
        "sae_widgets": lambda: sw.generate(model, sae, IDS, [push], max_new_tokens=NEW).tokens[0],
        "TransformerLens": generating(model, [(sae.hook, added)]),
    }
    if find_spec("sae_lens") is not None:
        calls |= spliced(twin, model, sae)
    same = calls["sae_widgets"]()
    assert len(same) == NEW, "the text ended early, so there is less to do than is said"
    for name, call in calls.items():
        if name != "HookedSAETransformer":  # which says something else
            assert call() == same, f"{name} writes something else"
    times = in_turn(**calls)
    told = {f"{name} / sae_widgets": times[name] / times["sae_widgets"] for name in times}
    del told["sae_widgets / sae_widgets"]
    return {**told, "sae_widgets, tokens a second": NEW / times["sae_widgets"]}


def spliced(twin: Any, model: Any, sae: sw.SAE) -> dict[str, Callable[[], tuple[int, ...]]]:
    """The same with an SAE in the model's own path: encoded whole, decoded, and its error added."""
    from sae_lens import SAE, HookedSAETransformer, SAETransformerBridge
    from transformer_lens import HookedTransformerConfig

    theirs = {
        "SAETransformerBridge": SAETransformerBridge.boot_transformers(
            type(twin).__name__, hf_model=twin, tokenizer=model.tokenizer
        )
    }
    if isinstance(twin, GPT2LMHeadModel):
        names = ("n_layers", "d_model", "d_head", "n_heads", "d_mlp", "n_ctx", "d_vocab")
        shape = {name: getattr(model.cfg, name) for name in names}
        config = HookedTransformerConfig(act_fn="gelu_new", normalization_type="LN", **shape)
        theirs["HookedSAETransformer"] = HookedSAETransformer(config, tokenizer=model.tokenizer)

    def raised(values: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        values[..., FEATURE] += STRENGTH
        return values

    found = {}
    for name, each in theirs.items():
        with tempfile.TemporaryDirectory() as folder:
            their_sae = SAE.load_from_disk(sw.save_sae(sae, Path(folder) / "sae"))
        each.eval().add_sae(their_sae, use_error_term=True)
        # A bridge has it under another name, and takes hooks under a wrong one without a word.
        place = next(name for name in each.hook_dict if name.endswith("hook_sae_acts_post"))
        found[name] = generating(each, [(place, raised)])
    return found


def generating(model: Any, hooks: list[Any]) -> Callable[[], tuple[int, ...]]:
    """Its own `generate`, under hooks."""
    options = {"max_new_tokens": NEW, "do_sample": False, "stop_at_eos": False, "verbose": False}

    def call() -> tuple[int, ...]:
        with torch.inference_mode(), model.hooks(fwd_hooks=hooks):
            text = model.generate(torch.tensor([IDS]), **options)
        return tuple(text[0, len(IDS) :].tolist())

    return call


if __name__ == "__main__":
    main()
