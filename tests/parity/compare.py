"""Whether edits do what independent implementations do; prints the largest differences as JSON.

`tests/parity/run` makes the environment that this needs, and runs it. Compared are, on the demo's
model and on a random Llama,

- `Add` on all tokens with the library steering-vectors, which gets it from an exported file;
- `Set`, `Scale`, `Ablate`, `Floor` and `Ceiling` with SAELens's spliced model, its error term kept
  and the same features overwritten. Its forward pass is TransformerLens's own, ours is that of
  Hugging Face;

once on texts that are given, and once on what is written greedily. It fails if logits are further
apart than rounding takes them, or a token is another.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from sae_lens import SAE as TheirSAE
from sae_lens import HookedSAETransformer
from steering_vectors import SteeringVector
from torch import Tensor
from transformer_lens import HookedTransformerConfig
from transformer_lens.pretrained.weight_conversions import convert_gpt2_weights
from transformers import GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

import sae_widgets as sw
from sae_widgets.demo.load import DATA, load_demo
from sae_widgets.sae import TopK
from sae_widgets.steering.edits import AnyEdit
from sae_widgets.steering.export import export

APART = 1e-4
"""How far logits of some tens may be apart: float32 sums in another order."""

NEW = 24
IDS = [[40, 41, 52, 133, 77, 120, 9], [500, 3, 18, 9, 260, 31, 47]]  # none is special

Found = dict[str, float]
Hook = tuple[str, Callable[..., Tensor]]


def main() -> None:
    libraries = ("steering-vectors", "sae-lens", "transformer-lens", "transformers", "torch")
    found = with_steering_vectors() | with_saelens()
    told = {"versions": {name: version(name) for name in libraries}, "differences": found}
    print(json.dumps(told, indent=1))
    if max(found.values()) > APART:
        sys.exit("an edit does not do what another implementation makes of it")


def difference(ours: Any, theirs: Any) -> float:
    """The largest difference of logits."""
    return float((getattr(ours, "logits", ours) - getattr(theirs, "logits", theirs)).abs().max())


def greedy(next_logits: Callable[[list[int]], Tensor], ids: Sequence[int]) -> list[int]:
    """The likeliest token again and again, each time reading the whole text."""
    text = list(ids)
    while len(text) < len(ids) + NEW and (len(text) == len(ids) or text[-1] != 0):
        text.append(int(next_logits(text).argmax()))
    return text[len(ids) :]


def wrong(ours: Sequence[int], theirs: Sequence[int]) -> float:
    """How many tokens are not the same; as a text that ends early is not."""
    same = sum(a == b for a, b in zip(ours, theirs, strict=False))
    return float(max(len(ours), len(theirs)) - same)


# steering-vectors


def with_steering_vectors() -> Found:
    demo = load_demo()
    network = GPT2LMHeadModel.from_pretrained(DATA / "model", dtype=torch.float32).eval()
    found = added("demo", demo.model, network, demo.sae)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(demo.model.tokenizer),
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        initializer_range=0.3,
        eos_token_id=0,
        bos_token_id=0,
    )
    network = LlamaForCausalLM(config).eval()
    twin = LlamaForCausalLM(config).eval()
    twin.load_state_dict(network.state_dict())
    model = sw.load_model(twin, demo.model.tokenizer)
    return found | added("Llama", model, network, sw.SAE(64, 200, "blocks.2.hook_resid_post"))


def added(name: str, model: Any, network: Any, sae: sw.SAE) -> Found:
    vector = torch.linspace(-0.5, 1.0, sae.d_model)
    edits = [
        sw.Add(7, 3.0, unit="raw"),
        sw.Add(9, -2.0, unit="raw"),
        sw.Add(vector, 0.5, unit="raw", hook="blocks.0.hook_resid_post"),
    ]
    ids = torch.tensor(IDS)
    with tempfile.TemporaryDirectory() as folder:
        path = export(Path(folder) / "x.steering_vectors.pt", model, sae, edits)
        theirs = SteeringVector(**torch.load(path))
    with torch.no_grad(), sw.steering(model, sae, edits):
        ours = model(ids)
    run = sw.generate(model, sae, IDS[0], [sw.Arm("added", tuple(edits))], max_new_tokens=NEW)
    with torch.no_grad(), theirs.apply(network):
        apart = difference(ours, network(ids))
        text = network.generate(ids[:1], max_new_tokens=NEW, do_sample=False, pad_token_id=0)
    return {
        f"steering-vectors, {name}: Add": apart,
        f"steering-vectors, {name}: tokens": wrong(run.tokens[0], text[0, ids.shape[1] :].tolist()),
    }


# SAELens


def with_saelens() -> Found:
    demo = load_demo()
    model = spliceable(demo.model.tokenizer)
    topk = sw.SAE(128, 300, "blocks.1.hook_resid_post", TopK(8), name="topk, random")
    saes = [demo.sae, demo.saes["attention-256"], topk.requires_grad_(False)]
    found: Found = {}
    for sae in saes:
        with tempfile.TemporaryDirectory() as folder:
            their_sae = TheirSAE.load_from_disk(sw.save_sae(sae, Path(folder) / "sae"))
        found |= overwritten(demo.model, sae, model, their_sae)
    return found


def spliceable(tokenizer: Any) -> HookedSAETransformer:
    """The demo's model in TransformerLens's own implementation."""
    network = GPT2LMHeadModel.from_pretrained(DATA / "model", dtype=torch.float32)
    shape = network.config
    config = HookedTransformerConfig(
        n_layers=shape.n_layer,
        d_model=shape.n_embd,
        d_head=shape.n_embd // shape.n_head,
        n_heads=shape.n_head,
        d_mlp=4 * shape.n_embd,
        n_ctx=shape.n_positions,
        d_vocab=shape.vocab_size,
        act_fn="gelu_new",
        normalization_type="LN",
        eps=shape.layer_norm_epsilon,
    )
    model = HookedSAETransformer(config, tokenizer=tokenizer)
    model.load_state_dict(convert_gpt2_weights(network, config), strict=False)
    return model.eval()


def overwritten(model: Any, sae: sw.SAE, spliced: Any, their_sae: Any) -> Found:
    """The same features overwritten, at all tokens but the first, which is special."""
    ids = torch.tensor([[0, *row] for row in IDS])
    with torch.no_grad():
        values = their_sae.encode(spliced.run_with_cache(ids)[1][sae.hook])[0, 1:]
    often = (values > 0).float().mean(0).argsort(descending=True, stable=True)
    # One feature that fires in many places, and one that never does.
    one, other = int(often[0]), int(often[-1])
    middle = float(values[:, one].median()) + 0.1

    def entry(feature: int, change: Callable[[Tensor], Tensor]) -> Hook:
        def hook(acts: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
            acts[:, 1:, feature] = change(acts[:, 1:, feature])
            return acts

        return f"{sae.hook}.hook_sae_acts_post", hook

    two = [entry(one, lambda x: 0 * x + 2.0), entry(other, lambda x: 0 * x + 1.5)]
    cases: dict[str, tuple[list[AnyEdit], list[Hook]]] = {
        "Set": ([sw.Set(one, 2.0, unit="raw"), sw.Set(other, 1.5, unit="raw")], two),
        "Scale": ([sw.Scale(one, 2.5)], [entry(one, lambda x: 2.5 * x)]),
        "Ablate": ([sw.Ablate(one)], [entry(one, lambda x: 0 * x)]),
        "Floor": ([sw.Floor(one, middle, unit="raw")], [entry(one, lambda x: x.clamp(min=middle))]),
        "Ceiling": (
            [sw.Ceiling(one, middle, unit="raw")],
            [entry(one, lambda x: x.clamp(max=middle))],
        ),
    }
    found: Found = {}
    for case, (edits, hooks) in cases.items():
        with torch.no_grad(), sw.steering(model, sae, edits):
            ours = model(ids)
        with torch.no_grad(), spliced.saes(saes=[their_sae], use_error_term=True):
            theirs = spliced.run_with_hooks(ids, fwd_hooks=hooks)
        with torch.no_grad():
            assert difference(spliced(ids), theirs) > 100 * APART, f"{case} does nothing"
        found[f"SAELens, {sae.name}: {case}"] = difference(ours, theirs)
    edits, hooks = cases["Set"]

    def next_logits(text: list[int]) -> Tensor:
        with torch.no_grad(), spliced.saes(saes=[their_sae], use_error_term=True):
            logits: Tensor = spliced.run_with_hooks(torch.tensor([text]), fwd_hooks=hooks)[0, -1]
        return logits

    start = ids[0].tolist()
    run = sw.generate(model, sae, start, [sw.Arm("set", tuple(edits))], max_new_tokens=NEW)
    found[f"SAELens, {sae.name}: tokens"] = wrong(run.tokens[0], greedy(next_logits, start))
    return found


if __name__ == "__main__":
    main()
