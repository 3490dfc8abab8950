"""What the objectives keep, what they charge for, and what they refuse."""

import math

import pytest
import torch

from sae_widgets.sae import SAE
from sae_widgets.training.codes import DenseChooser
from sae_widgets.training.objectives import Batch, BatchTopK, Matryoshka, TopK, rescue_loss

ALIVE = torch.zeros(3, dtype=torch.bool)


def judged(objective, sae, x, dead=ALIVE):
    return objective(sae, Batch(x, x, dead))


@pytest.fixture
def sae():
    """Three features in two dimensions: the axes, and the diagonal with a head start of 0.5."""
    sae = SAE(2, 3, "hook", pre_bias=True)
    directions = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    with torch.no_grad():
        sae.W_dec.copy_(directions)
        sae.W_enc.copy_(directions.T)
        sae.b_enc.copy_(torch.tensor([0.0, 0.0, 0.5]))
        sae.b_dec.copy_(torch.tensor([1.0, -1.0]))
    return sae


def test_the_largest_values_of_the_whole_batch_are_kept():
    pre = torch.tensor([[5.0, 1.0, 4.0], [0.5, 0.0, 3.0]])
    code, smallest = DenseChooser(pre).of_all(2)
    torch.testing.assert_close(code.values, torch.tensor([[5.0, 0.0, 4.0], [0.0, 0.0, 0.0]]))
    assert smallest.item() == 4.0


def test_zeros_are_never_kept_even_if_k_is_larger_than_what_fires():
    code, smallest = DenseChooser(torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]])).of_all(4)
    assert code.values.count_nonzero() == 1
    assert 0 < smallest.item() < 1e-30


def test_batch_top_k_charges_the_mean_squared_error_of_the_whole_dictionary(sae):
    # x - b_dec = (3, 0) -> pre (3, 0, 2.3); and (0, 1) -> pre (0, 1, 1.3). Two kept: 3 and 2.3.
    # Rebuilt: (3 + 1.38, 1.84) and (0, 0) about b_dec; errors (-1.38, -1.84) and (0, 1).
    x = torch.tensor([[4.0, -1.0], [1.0, 0.0]])
    outcome = judged(BatchTopK(k=1), sae, x)
    assert outcome.loss.item() == pytest.approx((1.38**2 + 1.84**2 + 1.0) / 4)
    assert outcome.threshold.item() == pytest.approx(2.3)


@pytest.mark.parametrize("objective", [TopK(2), BatchTopK(2), Matryoshka(2, (1, 3))])
def test_at_first_the_encoder_is_as_strong_as_reconstructs_best(sae, objective):
    # x - b_dec = (1, 0) fires 1 and 0.6 of the axis and the diagonal: they write (1.36, 0.48), of
    # which 1.36 / (1.36^2 + 0.48^2) is nearest. The other vector fires nothing.
    with torch.no_grad():
        sae.b_enc.zero_()
        before = sae.W_enc.clone()
    objective.start(sae, torch.tensor([[2.0, -1.0], [-4.0, -2.0]]))
    torch.testing.assert_close(sae.W_enc, 1.36 / 2.08 * before)
    objective.start(sae, sae.b_dec.detach()[None])
    torch.testing.assert_close(sae.W_enc, 1.36 / 2.08 * before)


def test_matryoshka_charges_every_prefix_alike(sae):
    # The same two values are kept. Feature 0 alone: (3, 0) and (0, 0): errors (0, 0) and (0, 1).
    x = torch.tensor([[4.0, -1.0], [1.0, 0.0]])
    outcome = judged(Matryoshka(k=1, prefixes=(1, 3)), sae, x)
    whole = (1.38**2 + 1.84**2 + 1.0) / 4
    assert outcome.loss.item() == pytest.approx((0.25 + whole) / 2)


def test_the_rescue_is_charged_as_a_share_of_what_was_missed():
    # Missed: (2, 0) and (-2, 0), spread 2; of the first, (1, 0) is explained.
    missed = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    guess = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    assert rescue_loss(missed, guess).item() == pytest.approx((1 + 4) / 8)


def test_nothing_missed_is_nothing_to_rescue_for():
    zero = torch.zeros(2, 2)
    assert rescue_loss(zero, torch.ones(2, 2)).item() == 0.0


def test_dead_features_are_asked_for_what_the_others_missed(sae):
    # x - b_dec = (3, 0): kept is feature 0, which misses (0, 0); and (0, 1): nothing is kept, for
    # (3, 0, 2.3) and (0, 1, 1.3) have 3 and 2.3 above. Dead feature 1 is asked: (0, 0), (0, 1).
    x = torch.tensor([[4.0, -1.0], [1.0, 0.0]])
    dead = torch.tensor([False, True, False])
    missed = torch.tensor([[-1.38, -1.84], [0.0, 1.0]])
    left = missed - torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    share = left.square().mean() / (missed - missed.mean(0)).square().mean()
    without = judged(BatchTopK(k=1, rescue=0.0), sae, x, dead).loss
    assert judged(BatchTopK(k=1, rescue=0.5), sae, x, dead).loss.item() == pytest.approx(
        (without + 0.5 * share).item()
    )


def test_a_dead_feature_gets_a_gradient_only_through_the_rescue(sae):
    x = torch.tensor([[9.0, -1.0], [-7.0, -0.9]])
    dead = torch.tensor([False, True, False])
    for rescue, moved in ((0.0, False), (1.0, True)):
        sae.zero_grad()
        sae.requires_grad_(True)
        judged(BatchTopK(k=1, rescue=rescue), sae, x, dead).loss.backward()
        assert bool(sae.W_dec.grad[1].abs().sum() > 0) is moved


@pytest.mark.parametrize("prefixes", [(), (4, 2), (2, 2, 4)])
def test_prefixes_must_grow(prefixes):
    with pytest.raises(ValueError, match="must grow"):
        Matryoshka(k=2, prefixes=prefixes)


def test_the_last_prefix_must_be_the_width():
    with pytest.raises(ValueError, match=r"last Matryoshka prefix is 2.*3 features"):
        Matryoshka(k=1, prefixes=(1, 2)).check(3)


def test_prefixes_that_nobody_names_are_powers_of_a_half():
    assert Matryoshka(k=2).ends(64) == (4, 8, 16, 32, 64)
    with pytest.raises(ValueError, match="8 features are too few for prefixes"):
        Matryoshka(k=2).check(8)


def test_top_k_keeps_as_many_of_every_vector(sae):
    # x - b_dec = (3, 0): 3 of feature 0, error 0; and (0, 1): 1.3 of feature 2.
    x = torch.tensor([[4.0, -1.0], [1.0, 0.0]])
    outcome = judged(TopK(k=1), sae, x)
    left = torch.tensor([0.0, 1.0]) - 1.3 * torch.tensor([0.6, 0.8])
    assert outcome.loss.item() == pytest.approx((left.square().sum() / 4).item())
    assert outcome.fired.tolist() == [1, 0, 1]
    assert outcome.threshold is None


def test_multi_top_k_also_charges_for_four_times_as_many():
    sae = SAE(3, 8, "hook")
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        sae.b_enc.copy_(torch.linspace(0.5, 2, 8))
        pre = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).relu()
        errors = []
        for k in (2, 8):
            best = pre.topk(k, dim=1)
            values = torch.zeros_like(pre).scatter(1, best.indices, best.values)
            errors.append((x - values @ sae.W_dec - sae.b_dec).square().mean())
    loss = judged(TopK(k=2, multi=1 / 8), sae, x, torch.zeros(8, dtype=torch.bool)).loss
    assert loss.item() == pytest.approx((errors[0] + errors[1] / 8).item(), rel=1e-5)


def test_multi_top_k_must_fit():
    TopK(k=2, multi=1 / 8).check(8)
    with pytest.raises(ValueError, match=r"keeps 4 k = 12 features .* has 8"):
        TopK(k=3, multi=1 / 8).check(8)


def test_the_trained_form_of_top_k_keeps_k_and_that_of_batch_top_k_has_the_threshold(sae):
    x = torch.tensor([[4.0, -1.0], [1.0, 0.0]])
    top = TopK(k=1).finished(sae, threshold=-1.0)
    assert (top.encode(x) > 0).sum(1).tolist() == [1, 1]
    batch = BatchTopK(k=1).finished(sae, threshold=2.5)
    torch.testing.assert_close(batch.encode(x), torch.tensor([[3.0, 0.0, 0.0], [0.0] * 3]))


@pytest.mark.parametrize("make", [TopK, BatchTopK, Matryoshka])
def test_k_must_be_positive_and_fit(make):
    with pytest.raises(ValueError, match="a whole number from 1; got 0"):
        make(k=0)
    with pytest.raises(ValueError, match="k = 65 features cannot fire of a dictionary of 64"):
        make(k=65).check(64)


@pytest.mark.parametrize("make", [TopK, BatchTopK, Matryoshka])
@pytest.mark.parametrize("rescue", [-1.0, math.nan, math.inf])
def test_a_rescue_weighs_nothing_or_more(make, rescue):
    with pytest.raises(ValueError, match=f"rescue weighs .* 0 or more; got {rescue}"):
        make(k=4, rescue=rescue)


def test_the_error_with_more_features_weighs_nothing_or_more():
    with pytest.raises(ValueError, match=r"multi weighs .* 0 or more; got nan"):
        TopK(k=4, multi=math.nan)


def test_settings_are_values_of_json():
    made = Matryoshka(4, (8, 16)).to_json()
    assert made == {"name": "Matryoshka", "k": 4, "prefixes": (8, 16), "rescue": 1 / 32}
