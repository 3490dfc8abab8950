"""What the objectives keep, what they charge for, and what they refuse."""

import pytest
import torch

from sae_widgets.sae import SAE
from sae_widgets.training.objectives import BatchTopK, Matryoshka, rescue_loss, strongest

ALIVE = torch.zeros(3, dtype=torch.bool)


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
    values, smallest = strongest(pre, k=1)
    torch.testing.assert_close(values, torch.tensor([[5.0, 0.0, 4.0], [0.0, 0.0, 0.0]]))
    assert smallest.item() == 4.0


def test_zeros_are_never_kept_even_if_k_is_larger_than_what_fires():
    values, smallest = strongest(torch.tensor([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]), k=2)
    assert values.count_nonzero() == 1
    assert 0 < smallest.item() < 1e-30


def test_batch_top_k_charges_the_mean_squared_error_of_the_whole_dictionary(sae):
    # x - b_dec = (3, 0) -> pre (3, 0, 2.3); and (0, 1) -> pre (0, 1, 1.3). Two kept: 3 and 2.3.
    # Rebuilt: (3 + 1.38, 1.84) and (0, 0) about b_dec; errors (-1.38, -1.84) and (0, 1).
    x = torch.tensor([[4.0, -1.0], [1.0, 0.0]])
    outcome = BatchTopK(k=1)(sae, x, ALIVE)
    assert outcome.loss.item() == pytest.approx((1.38**2 + 1.84**2 + 1.0) / 4)
    assert outcome.threshold.item() == pytest.approx(2.3)


def test_matryoshka_charges_every_prefix_alike(sae):
    # The same two values are kept. Feature 0 alone: (3, 0) and (0, 0): errors (0, 0) and (0, 1).
    x = torch.tensor([[4.0, -1.0], [1.0, 0.0]])
    outcome = Matryoshka(k=1, prefixes=(1, 3))(sae, x, ALIVE)
    whole = (1.38**2 + 1.84**2 + 1.0) / 4
    assert outcome.loss.item() == pytest.approx((0.25 + whole) / 2)


def test_dead_features_are_pulled_towards_what_the_others_missed():
    # Missed: (2, 0) and (-2, 0), spread 2. The dead direction (1, 0) explains half of the first.
    missed = torch.tensor([[2.0, 0.0], [-2.0, 0.0]])
    pre = torch.tensor([[9.0, 1.0], [9.0, 0.0]])
    dead = torch.tensor([False, True])
    loss = rescue_loss(missed, pre, dead, torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    assert loss.item() == pytest.approx((1 + 4) / 8)


def test_nothing_missed_is_nothing_to_rescue_for():
    zero = torch.zeros(2, 2)
    loss = rescue_loss(zero, torch.ones(2, 2), torch.tensor([True, True]), torch.eye(2))
    assert loss.item() == 0.0


def test_a_dead_feature_gets_a_gradient_only_through_the_rescue(sae):
    x = torch.tensor([[9.0, -1.0], [-7.0, -0.9]])
    dead = torch.tensor([False, True, False])
    for rescue, moved in ((0.0, False), (1.0, True)):
        sae.zero_grad()
        sae.requires_grad_(True)
        BatchTopK(k=1, rescue=rescue)(sae, x, dead).loss.backward()
        assert bool(sae.W_dec.grad[1].abs().sum() > 0) is moved


@pytest.mark.parametrize("prefixes", [(), (4, 2), (2, 2, 4)])
def test_prefixes_must_grow(prefixes):
    with pytest.raises(ValueError, match="must grow"):
        Matryoshka(k=2, prefixes=prefixes)


def test_the_last_prefix_must_be_the_width(sae):
    with pytest.raises(ValueError, match=r"last Matryoshka prefix is 2.*3 features"):
        Matryoshka(k=1, prefixes=(1, 2))(sae, torch.zeros(2, 2), ALIVE)


def test_k_must_be_positive():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        BatchTopK(k=0)
