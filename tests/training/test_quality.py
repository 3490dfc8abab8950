"""Every number worked out by hand on three vectors, or on a model whose loss is known."""

import pytest
import torch

from sae_widgets.sae import SAE, JumpReLU
from sae_widgets.training.activations import collect
from sae_widgets.training.quality import fidelity, recovery, statistics

HOOK = "blocks.0.hook_resid_post"
TEXTS = [[0, 3, 5, 2, 7], [0, 4, 4], [0, 9, 8, 1]]
SPECIAL = frozenset({0})


def axes(d_model=2, threshold=1.0, hook="h"):
    """Feature f is axis f, with a threshold; one more feature that never fires."""
    sae = SAE(d_model, d_model + 1, hook, JumpReLU(torch.full((d_model + 1,), threshold)))
    eye = torch.cat([torch.eye(d_model), torch.zeros(1, d_model)])
    with torch.no_grad():
        sae.W_dec.copy_(eye)
        sae.W_enc.copy_(eye.T)
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    return sae.requires_grad_(False)


X = torch.tensor([[4.0, 0.5], [2.0, 3.0], [0.0, 1.0]])


def test_fidelity_by_hand():
    # Thresholds are strict: only 4, 2 and 3 fire. Errors: 0.5 and 1. Means: 2 and 1.5.
    measured = fidelity(axes(), X)
    assert measured.fvu == pytest.approx((0.25 + 1.0) / (4 + 0 + 4 + 1 + 2.25 + 0.25))
    assert measured.l0 == pytest.approx(1.0)
    assert measured.dead == pytest.approx(1 / 3)
    assert measured.dense == pytest.approx(2 / 3)
    assert measured.bias == pytest.approx(1.0)
    assert measured.cosine == pytest.approx((4 / 16.25**0.5 + 1 + 0) / 3)
    assert measured.vectors == 3


def test_a_constant_offset_does_not_flatter_the_variance():
    sae = axes()
    far = X + 100.0
    sae.b_dec.fill_(100.0)
    sae.pre_bias = True
    assert fidelity(sae, far).fvu == pytest.approx(fidelity(axes(), X).fvu, rel=1e-3)


def test_shrinkage_shows_as_a_bias_below_one():
    sae = axes(threshold=0.0)
    sae.W_dec.mul_(0.5)
    assert fidelity(sae, X).bias == pytest.approx(0.5)


def test_one_vector_has_no_variance():
    with pytest.raises(ValueError, match="at least two"):
        fidelity(axes(), X[:1])


def test_statistics_by_hand():
    stats = statistics(axes(), X)
    assert stats.peak.tolist() == [4.0, 3.0, 0.0]
    assert stats.density.tolist() == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert stats.mean.tolist() == [3.0, 3.0, 0.0]
    assert stats.norm == pytest.approx((16.25**0.5 + 13**0.5 + 1) / 3)
    assert stats.tokens == 3
    assert stats.histogram.shape == (3, 32)
    assert stats.histogram[0].nonzero().flatten().tolist() == [16, 31]
    assert stats.histogram.sum(1).tolist() == [2, 1, 0]


def test_a_perfect_reconstruction_costs_nothing(model):
    sae = axes(8, hook=HOOK)
    sae.encode = lambda x: x
    sae.decode = lambda _values, x: x
    measured = recovery(model, sae, TEXTS, torch.zeros(8), special=SPECIAL)
    assert measured.cost == pytest.approx(0.0, abs=1e-6)
    assert measured.recovered == pytest.approx(1.0, abs=1e-5)
    assert measured.tokens == 3 + 1 + 2


def test_a_reconstruction_by_the_mean_recovers_nothing(model):
    mean = collect(model, HOOK, TEXTS, special=SPECIAL).mean(0)
    sae = axes(8, threshold=1e9, hook=HOOK)
    sae.b_dec.copy_(mean)
    measured = recovery(model, sae, TEXTS, mean, special=SPECIAL)
    assert measured.recovered == pytest.approx(0.0, abs=1e-6)
    assert measured.ablated != pytest.approx(measured.clean, abs=1e-3)


def test_the_losses_are_those_of_ordinary_tokens_one_text_at_a_time(model):
    measured = recovery(model, axes(8, hook=HOOK), TEXTS, torch.zeros(8), special=SPECIAL)
    total = 0.0
    for text in TEXTS:
        log = model(torch.tensor([text]))[0].log_softmax(-1)
        total -= sum(log[i, text[i + 1]].item() for i in range(1, len(text) - 1))
    assert measured.clean == pytest.approx(total / 6, rel=1e-5)
