"""Probes know what one feature knows, choose without looking at what they are scored on."""

import pytest
import torch

from sae_widgets.sae import SAE
from sae_widgets.training import quality as quality_module
from sae_widgets.training.probing import DECAY, auroc, logistic, probe, ranked


def axes(d):
    sae = SAE(d, d, "h").requires_grad_(False)
    sae.W_dec.copy_(torch.eye(d))
    sae.W_enc.copy_(torch.eye(d))
    return sae


def test_auroc_counts_pairs_and_half_of_ties():
    # Has: 3 and 1. Has not: 2, 1 and 0. Won: 3 of 3, and one and a half of three.
    scores = torch.tensor([3.0, 2.0, 1.0, 1.0, 0.0])
    labels = torch.tensor([True, False, True, False, False])
    assert auroc(scores, labels) == pytest.approx(4.5 / 6)


def test_features_are_ranked_by_how_far_their_means_are_apart(monkeypatch):
    values = torch.tensor([[1.0, 0.0, 5.0], [1.0, 4.0, 5.0], [0.0, 4.0, 2.0], [0.0, 6.0, 9.0]])
    labels = torch.tensor([True, True, False, False])  # apart by 1, 3 and 0.5
    for tile in (100, 3):  # of all vectors, and of one
        monkeypatch.setattr(quality_module, "TILE", tile)
        assert ranked(axes(3), values, labels).tolist() == [1, 0, 2]


def test_a_regression_is_where_its_loss_has_no_slope():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 3, generator=generator)
    labels = x @ torch.tensor([1.0, -2.0, 0.0]) + torch.randn(200, generator=generator) > 0.5
    weights = logistic(x, labels)
    assert weights[0] > 0.5
    assert weights[1] < -1
    w = weights.clone().requires_grad_()
    bias = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS([bias], max_iter=50)

    def loss():
        optimizer.zero_grad()
        found = torch.nn.functional.binary_cross_entropy_with_logits(x @ w + bias, labels.float())
        found = found + DECAY * w.square().sum()
        found.backward()
        return found

    optimizer.step(loss)
    w.grad = None
    loss()
    assert w.grad.abs().max() < 2e-3


def test_one_feature_that_knows_suffices_and_two_are_needed_for_either_of_two():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(400, 5, generator=generator)
    known = x[:, 3] > 0.6
    found = probe(axes(5), x, known)
    assert found.features[0] == 3
    assert found.auroc[1] == 1.0
    assert set(found.auroc) == {1, 2, 5}
    both = x[:, 1] + x[:, 4] > 1.2
    found = probe(axes(5), x, both, counts=(2, 1))
    assert set(found.features) == {1, 4}
    assert found.auroc[1] < 0.9 < 0.99 < found.auroc[2]
    assert found.dense > 0.99


def test_what_is_scored_has_no_say_in_the_choice():
    x = torch.zeros(8, 2)
    labels = torch.tensor([True, False] * 4)
    x[:4, 0] = labels[:4].float()  # knows in the first half only
    x[4:, 1] = labels[4:].float()  # and the other in the second
    found = probe(axes(2), x, labels, counts=(1,))
    assert found.features == (0,)
    assert found.auroc[1] == 0.5


def test_a_label_that_all_or_none_have_is_refused():
    x = torch.rand(10, 2)
    with pytest.raises(ValueError, match="in the second half 0 of 5 vectors have the label"):
        probe(axes(2), x, torch.arange(10) < 3, counts=(1,))
    with pytest.raises(ValueError, match="a probe reads 1 to 2 features"):
        probe(axes(2), x, torch.arange(10) % 2 == 0, counts=(1, 3))
