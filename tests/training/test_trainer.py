"""Training finds planted directions, keeps its promises, and folds its scale away."""

import copy
import math

import pytest
import torch
from torch.nn import functional as F

from sae_widgets.training.activations import Rows
from sae_widgets.training.objectives import BatchTopK, Matryoshka
from sae_widgets.training.trainer import (
    Learner,
    Recipe,
    SAETrainer,
    UnitRows,
    geometric_median,
    initial,
    train,
)


def planted(vectors=6000, seed=0):
    """Sums of two of 12 known directions in 8 dimensions, far from the origin and large."""
    generator = torch.Generator().manual_seed(seed)
    directions = F.normalize(torch.randn(12, 8, generator=generator), dim=1)
    chosen = torch.rand(vectors, 12, generator=generator).topk(2).indices
    strength = 1 + torch.rand(vectors, 2, generator=generator)
    codes = torch.zeros(vectors, 12).scatter(1, chosen, strength)
    return 20 * (codes @ directions) + 5.0, directions


@pytest.fixture(scope="module")
def trained():
    x, directions = planted()
    recipe = Recipe(steps=400, batch=256, lr=1e-2, seed=1)
    sae = train(Rows(x), BatchTopK(2), hook="h", d_sae=24, recipe=recipe, progress=False)
    return sae, x, directions


def test_planted_directions_are_found(trained):
    sae, _, directions = trained
    nearest = (directions @ sae.W_dec.T).amax(1)
    untrained = initial(8, 24, "h", torch.zeros(8), Recipe(seed=1)).W_dec.detach()
    assert nearest.min() > 0.8
    assert nearest.mean() > (directions @ untrained.T).amax(1).mean() + 0.1


def test_the_reconstruction_is_of_the_activations_as_they_came(trained):
    sae, x, _ = trained
    error = (x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()
    assert error < 0.15


def test_decoder_rows_have_unit_norm(trained):
    sae, _, _ = trained
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(24))


def test_after_training_a_vector_is_encoded_without_regard_to_its_neighbours(trained):
    sae, x, _ = trained
    torch.testing.assert_close(sae.encode(x[:1]), sae.encode(x[:50])[:1])
    assert (sae.encode(x) > 0).sum(1).float().mean().item() == pytest.approx(2, abs=0.5)


def test_the_same_seed_trains_the_same_sae():
    x, _ = planted()
    recipe = Recipe(steps=5, batch=64, seed=4)
    one, two = (
        train(Rows(x), BatchTopK(2), hook="h", d_sae=24, recipe=recipe, progress=False)
        for _ in range(2)
    )
    assert torch.equal(one.W_enc, two.W_enc)
    assert torch.equal(one.b_dec, two.b_dec)


def test_a_frozen_decoder_stays_random_while_the_encoder_learns():
    x, _ = planted()
    recipe = Recipe(steps=20, batch=64, seed=4, frozen=True)
    start = initial(8, 24, "h", torch.zeros(8), recipe)
    sae = train(Rows(x), Matryoshka(2, (8, 24)), hook="h", d_sae=24, recipe=recipe, progress=False)
    assert torch.equal(sae.W_dec, start.W_dec)
    assert not torch.allclose(sae.W_enc, start.W_enc)


def test_folding_the_scale_changes_no_reconstruction():
    recipe = Recipe(seed=2)
    inner = initial(4, 6, "h", torch.tensor([0.5, -1.0, 0.0, 2.0]), recipe)
    with torch.no_grad():
        inner.b_enc.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0, 0.5, -0.4]))
    learner = Learner(inner, BatchTopK(1), scale=4.0, patience=9)
    learner.threshold.fill_(0.6)
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    pre = ((4 * x - inner.b_dec) @ inner.W_enc + inner.b_enc).relu()
    expected = (inner.decode(pre * (pre > 0.6)) / 4).detach()
    torch.testing.assert_close(learner.finished()(x), expected)


def test_silence_is_counted_and_the_threshold_follows_slowly():
    inner = initial(2, 2, "h", torch.zeros(2), Recipe())
    with torch.no_grad():
        inner.W_dec.copy_(torch.eye(2))
        inner.W_enc.copy_(torch.eye(2))
    learner = Learner(inner, BatchTopK(1), scale=1.0, patience=9, memory=0.75).train()
    learner(torch.tensor([[3.0, 0.0]]))
    assert learner.silent.tolist() == [0, 1]
    assert learner.threshold.item() == 3.0
    learner(torch.tensor([[0.0, 7.0]]))
    assert learner.silent.tolist() == [1, 0]
    assert learner.threshold.item() == 4.0
    learner.eval()(torch.tensor([[0.0, 9.0]]))
    assert learner.silent.tolist() == [1, 0]


def test_steps_along_a_direction_are_taken_out():
    inner = initial(2, 1, "h", torch.zeros(2), Recipe())
    with torch.no_grad():
        inner.W_dec.copy_(torch.tensor([[0.6, 0.8]]))
    inner.W_dec.grad = torch.tensor([[5.0, 0.0]])
    learner = Learner(inner, BatchTopK(1), 1.0, 9)
    UnitRows().on_pre_optimizer_step(None, None, None, model=learner)
    torch.testing.assert_close(inner.W_dec.grad, torch.tensor([[3.2, -2.4]]))


def test_the_rate_warms_up_holds_and_falls_to_nothing_in_the_last_fifth(tmp_path):
    x, _ = planted(500)
    learner = Learner(initial(8, 16, "h", x.mean(0), Recipe()), BatchTopK(2), 0.1, 9)
    recipe = Recipe(steps=100, batch=8, warmup=0.05, decay=0.2, lr=1e-3)
    trainer = SAETrainer(learner, Rows(x), recipe, str(tmp_path), progress=False)
    optimizer = torch.optim.Adam(learner.parameters(), lr=1e-3)
    schedule = trainer.create_scheduler(100, optimizer)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] < 3e-4
    assert rates[5:80] == pytest.approx([1e-3] * 75)
    assert rates[90] == pytest.approx(5e-4)
    assert rates[99] < 1e-4


def test_the_default_rate_falls_with_the_root_of_the_width():
    assert Recipe().rate(2**14) == pytest.approx(2e-4)
    assert Recipe().rate(2**12) == pytest.approx(4e-4)
    assert Recipe().rate(4) == 2e-3


def test_the_geometric_median_ignores_how_far_an_outlier_is():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [500.0, 500.0]])
    near, far = geometric_median(x), geometric_median(torch.cat([x[:4], 9 * x[4:]]))
    assert near.norm() < 2
    torch.testing.assert_close(near, far, atol=0.05, rtol=0)


def test_broken_activations_are_refused():
    x, _ = planted(100)
    x[3, 3] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        train(Rows(x), BatchTopK(2), hook="h", d_sae=24, progress=False)


def test_more_features_than_the_dictionary_has_are_refused():
    x, _ = planted(100)
    with pytest.raises(ValueError, match=r"k = 9 .* dictionary of 4"):
        train(Rows(x), BatchTopK(9), hook="h", d_sae=4, progress=False)


def test_training_does_not_touch_the_data(trained):
    _, x, _ = trained
    torch.testing.assert_close(x, planted()[0])
    assert copy.copy(Recipe()) == Recipe()


def test_too_few_vectors_for_one_batch_are_refused_and_not_left_untrained():
    x, _ = planted(vectors=200)
    with pytest.raises(ValueError, match="200 vectors do not fill one batch of 256"):
        train(Rows(x), BatchTopK(2), hook="h", d_sae=24, recipe=Recipe(steps=3, batch=256))
