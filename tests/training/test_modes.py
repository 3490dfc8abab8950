"""A training is what it is, whatever modes of torch it stands in."""

import contextlib

import pytest
import torch
from planted import planted

import sae_widgets as sw
from sae_widgets.training.activations import Rows
from sae_widgets.training.objectives import BatchTopK
from sae_widgets.training.penalties import Gated, JumpReLU
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.trainer import fit

HOOK = "blocks.0.hook_resid_post"
TEXTS = [
    " ".join("abcdefghijklmnopqrs"[(n * n + 3 * i * n) % 19] for i in range(9)) for n in range(30)
]


@contextlib.contextmanager
def setting(value, now, set_):
    before = now()
    set_(value)
    try:
        yield
    finally:
        set_(before)


MODES = {
    "no gradients": lambda: setting(False, torch.is_grad_enabled, torch.set_grad_enabled),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float64": lambda: setting(torch.float64, torch.get_default_dtype, torch.set_default_dtype),
    "bfloat16": lambda: setting(torch.bfloat16, torch.get_default_dtype, torch.set_default_dtype),
    "meta": lambda: torch.device("meta"),
}


def recipe(objective, **options):
    return Recipe(
        HOOK, 24, objective, **{"steps": 8, "batch": 32, "context": 16, "lr": 1e-2} | options
    )


def same(one, other):
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and x.dtype == y.dtype and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("objective", [BatchTopK(3), Gated(1.0), JumpReLU(3.0)])
def test_an_sae_comes_out_the_same_to_the_bit_in_every_mode(model, mode, objective):
    plain = sw.train(model, TEXTS, recipe(objective), progress=False)
    with MODES[mode]():
        dtype = torch.get_default_dtype()
        found = sw.train(model, TEXTS, recipe(objective), progress=False)
        assert torch.get_default_dtype() == dtype
    assert same(found, plain)
    torch.testing.assert_close(found.stats.peak, plain.stats.peak, rtol=0, atol=0)


@pytest.mark.parametrize("mode", MODES)
def test_so_does_one_of_vectors_in_memory(mode):
    x, _ = planted()
    plain = fit(Rows(x), recipe(BatchTopK(3)), progress=False)
    with MODES[mode]():
        found = fit(Rows(x), recipe(BatchTopK(3)), progress=False)
    assert same(found, plain)
    assert not found.W_dec.is_inference()


def test_the_casts_of_a_recipe_are_of_the_weights_of_each_step(model):
    """Around an autocast of ours, another one keeps weights as they were cast first."""
    asked = recipe(BatchTopK(3), precision="bfloat16")
    plain = sw.train(model, TEXTS, asked, progress=False)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert same(sw.train(model, TEXTS, asked, progress=False), plain)


def test_a_widget_trains_where_gradients_are_off(model):
    plain = sw.train(model, TEXTS, recipe(BatchTopK(3)), progress=False)
    with torch.inference_mode():
        widget = sw.training(model, TEXTS, recipe(BatchTopK(3)))
        found = widget.result()
    assert same(found, plain)
    widget.close()


def test_modes_are_as_they_were_afterwards(model):
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        sw.train(model, TEXTS, recipe(BatchTopK(3)), progress=False)
        assert not torch.is_grad_enabled()
        assert torch.is_autocast_enabled("cpu")
        assert torch.is_autocast_cache_enabled()
