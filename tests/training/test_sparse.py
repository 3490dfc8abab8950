"""The sparse sums are the dense ones: the same codes, losses and gradients, from other steps."""

import pytest
import torch
from torch.nn import functional as F

from sae_widgets.sae import SAE
from sae_widgets.training import codes
from sae_widgets.training.codes import DenseChooser, SparseChooser, chooser
from sae_widgets.training.objectives import Batch, BatchTopK, Matryoshka, TopK

D_MODEL, D_SAE, VECTORS = 7, 40, 33


def make(pre_bias=True):
    """Lopsided: biases, uneven norms, and one vector so far off that nothing fires on it."""
    generator = torch.Generator().manual_seed(5)
    sae = SAE(D_MODEL, D_SAE, "h", pre_bias=pre_bias)
    with torch.no_grad():
        sae.W_dec.copy_(torch.randn(D_SAE, D_MODEL, generator=generator))
        sae.W_enc.copy_(torch.randn(D_MODEL, D_SAE, generator=generator))
        sae.b_enc.copy_(torch.randn(D_SAE, generator=generator) - 1)
        sae.b_dec.copy_(torch.randn(D_MODEL, generator=generator))
    x = torch.randn(VECTORS, D_MODEL, generator=generator)
    dead = torch.rand(D_SAE, generator=generator) < 0.3
    return sae, Batch(x, x, dead)


@pytest.fixture
def sparse(monkeypatch):
    """Let the sparse kind be chosen for small dictionaries, a few vectors in a tile."""
    monkeypatch.setattr(codes, "WIDE", D_SAE)
    monkeypatch.setattr(codes, "RARE", 1)
    monkeypatch.setattr(codes, "TILE", 5 * D_SAE)


def judged(objective, pre_bias):
    sae, batch = make(pre_bias)
    outcome = objective(sae, batch)
    outcome.loss.backward()
    return outcome, {name: p.grad for name, p in sae.named_parameters()}


@pytest.mark.parametrize("pre_bias", [True, False])
@pytest.mark.parametrize(
    "objective",
    [TopK(3), TopK(3, multi=0.5), BatchTopK(3, rescue=0.4), Matryoshka(3, (5, 12, 40))],
    ids=["top", "multi", "batch", "nested"],
)
def test_losses_and_gradients_are_those_of_the_dense_kind(objective, pre_bias, request):
    dense, gradients = judged(objective, pre_bias)
    request.getfixturevalue("sparse")
    assert isinstance(chooser(make()[0], torch.zeros(2, D_MODEL), 3), SparseChooser)
    outcome, found = judged(objective, pre_bias)
    torch.testing.assert_close(outcome.loss, dense.loss)
    torch.testing.assert_close(outcome.guess, dense.guess)
    assert torch.equal(outcome.fired, dense.fired)
    assert (outcome.threshold is None) == (dense.threshold is None)
    for name, gradient in gradients.items():
        torch.testing.assert_close(found[name], gradient, msg=lambda m, n=name: f"{n}: {m}")


@pytest.mark.usefixtures("sparse")
def test_the_gradient_is_that_of_the_formula_in_plain_torch():
    sae, batch = make()
    BatchTopK(3, rescue=0.0)(sae, batch).loss.backward()
    W_enc, b_enc, W_dec, b_dec = (p.detach().clone().requires_grad_() for p in sae.parameters())
    pre = F.relu((batch.x - b_dec) @ W_enc + b_enc)
    kept = pre * (pre >= pre.flatten().topk(3 * VECTORS).values[-1])
    F.mse_loss(kept @ W_dec + b_dec, batch.x).backward()
    for one, other in zip(sae.parameters(), (W_enc, b_enc, W_dec, b_dec), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.usefixtures("sparse")
def test_a_first_tile_that_misleads_changes_nothing():
    sae, batch = make()
    x = torch.cat([batch.x * 0.01, batch.x, batch.x * 50])
    for order in (x, x.flip(0)):
        pre = ((order - sae.b_dec) @ sae.W_enc + sae.b_enc).relu()
        dense, threshold = DenseChooser(pre).of_all(60)
        code, found = chooser(sae, order, 3).of_all(60)
        torch.testing.assert_close(found, threshold)
        assert torch.equal(code.fired(), dense.fired())


@pytest.mark.usefixtures("sparse")
def test_a_frozen_decoder_gets_no_gradient():
    sae, batch = make()
    sae.W_dec.requires_grad_(False)
    Matryoshka(3, (5, 40))(sae, batch).loss.backward()
    assert sae.W_dec.grad is None
    assert sae.W_enc.grad is not None


@pytest.mark.usefixtures("sparse")
def test_nothing_that_fires_is_no_trouble():
    sae, batch = make()
    with torch.no_grad():
        sae.b_enc.fill_(-1e3)
    for objective in (TopK(3), BatchTopK(3)):
        outcome = objective(sae, batch)
        outcome.loss.backward()
        assert outcome.fired.sum() == 0
        torch.testing.assert_close(outcome.guess, sae.b_dec.expand(VECTORS, -1))


def test_small_dictionaries_and_frequent_features_stay_dense():
    x = torch.zeros(2, 4)
    assert isinstance(chooser(SAE(4, codes.WIDE, "h"), x, 4), SparseChooser)
    assert isinstance(chooser(SAE(4, codes.WIDE - 1, "h"), x, 4), DenseChooser)
    assert isinstance(chooser(SAE(4, codes.WIDE, "h"), x, codes.WIDE // 4), DenseChooser)
