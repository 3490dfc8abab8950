"""Every number worked out by hand on three vectors, or on a model whose loss is known."""

import json

import pytest
import torch

from sae_widgets.sae import SAE, JumpReLU
from sae_widgets.training import quality as quality_module
from sae_widgets.training.activations import collect
from sae_widgets.training.quality import fidelity, quality, recovery, statistics

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


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_an_sae_of_sixteen_bits_is_counted_and_summed_in_more(dtype, monkeypatch):
    monkeypatch.setattr(quality_module, "TILE", 30)  # ten vectors at a time
    x = torch.tensor([[4.0, 0.5], [2.0, 3.0]]).repeat(1500, 1)
    sae = axes().to(dtype)
    measured = fidelity(sae, x)
    assert measured.l0 == 1.5
    assert measured.dead == pytest.approx(1 / 3)
    # Errors: 0.5 of every other vector. Deviations from the mean: 1 and 1.25.
    assert measured.fvu == pytest.approx(0.125 / (1 + 1.25**2), rel=1e-3)
    stats = statistics(sae, x)
    assert stats.density.tolist() == [1.0, 0.5, 0.0]
    assert stats.mean.tolist() == [3.0, 3.0, 0.0]


def test_fidelity_by_hand():
    # Thresholds are strict: only 4, 2 and 3 fire. Errors: 0.5 and 1. Means: 2 and 1.5.
    measured = fidelity(axes(), X)
    assert measured.fvu == pytest.approx((0.25 + 1.0) / (4 + 0 + 4 + 1 + 2.25 + 0.25))
    assert measured.l0 == pytest.approx(1.0)
    assert measured.dead == pytest.approx(1 / 3)
    assert measured.dense == pytest.approx(2 / 3)
    assert measured.bias == pytest.approx(1.0)
    assert measured.cosine == pytest.approx((4 / 16.25**0.5 + 1 + 0) / 3)
    assert measured.length == pytest.approx((4 + 13**0.5) / (16.25**0.5 + 13**0.5 + 1))
    assert measured.densities == (1, *[0] * 11, 2)  # shares of 0, and of 1/3 and 2/3
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


def test_how_far_predictions_move_is_the_mean_divergence_of_ordinary_tokens(model):
    sae = axes(8, threshold=0.1, hook=HOOK)
    mean = torch.linspace(-1, 1, 8)
    measured = recovery(model, sae, TEXTS, mean, special=SPECIAL)
    totals = [0.0, 0.0]
    for text in TEXTS:
        p = model(torch.tensor([text]))[0].softmax(-1)
        for arm, new in enumerate((sae, lambda x: mean.expand_as(x))):

            def replace(value, hook, new=new):  # noqa: ARG001
                return torch.cat([value[:, :1], new(value[:, 1:])], dim=1)

            with model.hooks(fwd_hooks=[(HOOK, replace)]):
                q = model(torch.tensor([text]))[0].softmax(-1)
            for i in range(1, len(text) - 1):
                totals[arm] += (p[i] * (p[i] / q[i]).log()).sum().item()
    assert measured.kl == pytest.approx(totals[0] / 6, rel=1e-4)
    assert measured.kl_ablated == pytest.approx(totals[1] / 6, rel=1e-4)
    assert measured.kl_recovered == pytest.approx(1 - totals[0] / totals[1], rel=1e-4)


def transcoder(d_in, directions, **options):
    sae = SAE(len(directions[0]), len(directions), "h", pre_bias=False, d_in=d_in, **options)
    with torch.no_grad():
        sae.W_dec.copy_(torch.tensor(directions))
    return sae.requires_grad_(False)


def test_a_transcoder_is_measured_on_what_it_is_to_write():
    # Feature 0 reads the first number, feature 1 the second; they write 1 and 2 times a number.
    sae = transcoder(2, [[1.0], [2.0]], hook_out="o")
    sae.W_enc.copy_(torch.eye(2))
    y = torch.tensor([[6.0], [9.0], [0.0]])  # mean 5, and what is written: 5, 8 and 2
    measured = fidelity(sae, X, y)
    assert measured.fvu == pytest.approx((1 + 1 + 4) / (1 + 16 + 25))
    assert measured.l0 == pytest.approx(5 / 3)
    assert measured.length == pytest.approx(15 / 15)
    assert statistics(sae, X, y).norm == pytest.approx(5.0)


def test_a_transcoder_that_computes_what_the_heads_write_costs_nothing(model):
    sae = SAE(
        8, 1, "blocks.0.attn.hook_z", pre_bias=False, hook_out="blocks.0.hook_attn_out", skip=True
    ).requires_grad_(False)
    attention = model.blocks[0].attn
    sae.W_enc.zero_()
    sae.b_dec.copy_(attention.b_O)
    sae.W_skip.copy_(attention.W_O.reshape(8, 8).T)
    mean = collect(model, sae.hook_out, TEXTS, special=SPECIAL).mean(0)
    measured = recovery(model, sae, TEXTS, mean, special=SPECIAL)
    assert measured.cost == pytest.approx(0.0, abs=1e-5)
    assert measured.kl == pytest.approx(0.0, abs=1e-5)
    assert measured.ablated != pytest.approx(measured.clean, abs=1e-3)


def test_quality_says_all_of_it_of_texts_as_json(model):
    words = ["c e b g", "d d", "i h a"]
    sae = axes(8, threshold=0.1, hook=HOOK)
    found = quality(model, sae, [{"story": text} for text in words], column="story")
    ids = [[0, 3, 5, 2, 7], [0, 4, 4], [0, 9, 8, 1]]
    x = collect(model, HOOK, ids)
    assert found.fidelity.fvu == pytest.approx(fidelity(sae, x).fvu)
    assert found.recovery.ablated == pytest.approx(recovery(model, sae, ids, x.mean(0)).ablated)
    assert found.recovery.tokens == 6
    assert quality(model, sae, words, scored=4).recovery.tokens == 3
    assert quality(model, sae, words, vectors=5).fidelity.vectors == 5
    told = json.loads(json.dumps(found.to_json()))
    assert told["recovery"]["ablation"] == "mean"
    assert told["recovery"]["recovered"] == pytest.approx(found.recovery.recovered)
    assert len(told["fidelity"]["densities"]) == 13
    assert sum(told["fidelity"]["densities"]) == 9
    assert told["geometry"]["nearest"] == 0.0


def test_quality_refuses_texts_that_predict_nothing(model):
    with pytest.raises(ValueError, match="no ordinary token behind another"):
        quality(model, axes(8, hook=HOOK), ["a", "b"])
