"""Files of SAEs written by hand, and what an SAE does in plain torch."""

from __future__ import annotations

import json

import torch
from safetensors.torch import save_file

D, F = 5, 7  # two primes, so that a matrix the wrong way round cannot pass


def numbers(*shape, seed=0):
    """Numbers of both signs, the same every time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


def plain(**others):
    """The weights of an SAE that is lopsided in everything."""
    return {
        "W_enc": numbers(D, F, seed=1),
        "b_enc": numbers(F, seed=2),
        "W_dec": numbers(F, D, seed=3),
        "b_dec": numbers(D, seed=4),
        **others,
    }


def folder(path, config, tensors, weights, name="cfg.json"):
    """An SAE in a folder: its configuration and its weights."""
    path.mkdir(parents=True, exist_ok=True)
    if config is not None:
        (path / name).write_text(json.dumps(config))
    (path / weights).parent.mkdir(exist_ok=True)
    held = {key: value.contiguous() for key, value in tensors.items()}
    if weights.endswith(".safetensors"):
        save_file(held, path / weights)
    else:
        torch.save(held, path / weights)
    return path


def inputs(d=D):
    return numbers(2, 3, d, seed=9) * 3


def topk(pre, k):
    """All but the k strongest of each row set to zero, by sorting."""
    bound = pre.relu().sort(dim=-1, descending=True).values[..., k - 1 : k]
    return pre.relu() * (pre.relu() >= bound)


def check(sae, values, output, x=None):
    """`sae` gives these values and this output, and some features as among all."""
    x = inputs(sae.d_in) if x is None else x
    torch.testing.assert_close(sae.encode(x), values)
    torch.testing.assert_close(sae(x), output)
    assert (values > 0).any() and (values == 0).any(), "a test in which all or nothing fires"
    some = [4, 0, 2]
    torch.testing.assert_close(sae.encoder(some)(x), values[..., some])
