"""What reading features costs; prints JSON.

`python tests/benchmarks/capture.py` measures, on the demo and on a random model of GPT-2 small's
size with an SAE of 24,576 features, `capture` of one prompt (hook, encoder, the sparse record,
special tokens, explained variance) against the bare forward pass to that layer and the encoder's
matrix product: a ratio of medians taken in turn (budget 1.15).
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import torch
from steering import in_turn, small

import sae_widgets as sw
from sae_widgets.demo.load import load_demo
from sae_widgets.sae import TopK

LENGTHS = (32, 200)
K = 32


class Here(Exception):
    """The layer was reached."""


def ratio(model: Any, sae: sw.SAE, length: int) -> float:
    ids = [7 + i % 90 for i in range(length)]
    batch = torch.tensor([ids])
    layer = int(sae.hook.split(".")[1])
    block = model.original_model.transformer.h[layer]
    seen: list[torch.Tensor] = []

    def stop(_module: object, _input: object, output: Any) -> None:
        seen.append(output[0] if isinstance(output, tuple) else output)
        raise Here

    def bare() -> None:
        handle = block.register_forward_hook(stop)
        with torch.inference_mode(), suppress(Here):
            model.original_model(batch)
        handle.remove()
        with torch.inference_mode():
            torch.relu((seen.pop()[0] - sae.b_dec) @ sae.W_enc + sae.b_enc)

    times = in_turn(capture=lambda: sw.capture(model, sae, ids), bare=bare)
    return times["capture"] / times["bare"]


def main() -> None:
    demo = load_demo()
    large = sw.load_model(small(), demo.model.tokenizer)
    wide = sw.SAE(768, 24_576, "blocks.6.hook_resid_post", TopK(K)).requires_grad_(False)
    pairs = {"demo": (demo.model, demo.sae), "GPT-2 small's size, 24,576 features": (large, wide)}
    found = {
        f"{name}, {length} tokens": ratio(model, sae, length)
        for name, (model, sae) in pairs.items()
        for length in LENGTHS
    }
    print(json.dumps({"threads": torch.get_num_threads(), **found}, indent=1))


if __name__ == "__main__":
    main()
