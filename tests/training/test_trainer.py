"""Training finds planted directions, keeps its promises, and folds its scale away."""

import copy
import gc
import math

import pytest
import torch
from planted import planted
from torch.nn import functional as F
from transformers import TrainerCallback

from sae_widgets.sae import SAE, JumpReLU, Relu, TopK
from sae_widgets.training import objectives
from sae_widgets.training.activations import Rows
from sae_widgets.training.objectives import BatchTopK, Matryoshka
from sae_widgets.training.penalties import L1
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.trainer import (
    Learner,
    Learners,
    SAETrainer,
    UnitRows,
    arguments,
    fit,
    geometric_median,
    initial,
    rescaled,
    unit,
)


def recipe(d_sae=24, objective=None, **options):
    return Recipe("h", d_sae, objective or BatchTopK(2), **options)


def learner(d_model=2, d_sae=2, scale=1.0, *, objective=None, **options):
    filled = recipe(d_sae, objective or BatchTopK(1), **options).filled(d_model)
    return Learner(initial(filled, torch.zeros(d_model)), filled, scale)


def trainer(learners, x, folder):
    return SAETrainer(
        Learners(learners), Rows(x), arguments(learners[0].recipe, str(folder)), progress=False
    )


@pytest.fixture(scope="module")
def trained():
    x, directions = planted()
    sae = fit(Rows(x), recipe(steps=400, batch=256, lr=1e-2, seed=1), progress=False)
    return sae, x, directions


def test_planted_directions_are_found(trained):
    sae, _, directions = trained
    nearest = (directions @ sae.W_dec.T).amax(1)
    untrained = initial(recipe(seed=1), torch.zeros(8)).W_dec.detach()
    assert nearest.min() > 0.7
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
    one, two = (fit(Rows(x), recipe(steps=5, batch=64, seed=4), progress=False) for _ in range(2))
    assert torch.equal(one.W_enc, two.W_enc)
    assert torch.equal(one.b_dec, two.b_dec)


def test_a_frozen_decoder_stays_random_while_the_encoder_learns():
    x, _ = planted()
    frozen = recipe(objective=Matryoshka(2, (8, 24)), steps=20, batch=64, seed=4, frozen=True)
    start = initial(frozen, torch.zeros(8))
    sae = fit(Rows(x), frozen, progress=False)
    assert torch.equal(sae.W_dec, start.W_dec)
    assert not torch.allclose(sae.W_enc, start.W_enc)


def test_saes_that_learn_side_by_side_are_as_they_would_be_alone(tmp_path):
    x, _ = planted(500)
    shared = {"steps": 12, "batch": 64, "clip": 0.01}
    recipes = [
        recipe(24, BatchTopK(2), lr=1e-2, **shared).filled(8),
        recipe(32, Matryoshka(3, (8, 32)), lr=1e-3, beta1=0.5, **shared).filled(8),
    ]

    def made(some):
        return [Learner(initial(each, x[:50].mean(0)), each, 0.1) for each in some]

    together = made(recipes)
    trainer(together, x, tmp_path).train()
    for each, one in zip(recipes, together, strict=True):
        alone = made([each])
        trainer(alone, x, tmp_path).train()
        torch.testing.assert_close(one.sae.W_enc, alone[0].sae.W_enc, atol=0, rtol=0)
        torch.testing.assert_close(one.sae.b_dec, alone[0].sae.b_dec, atol=0, rtol=0)


def test_the_log_tells_how_training_goes(tmp_path):
    x, _ = planted(2000)
    one = Learner(initial(recipe(lr=1e-2).filled(8), x.mean(0) * 0.1), recipe().filled(8), 0.1)
    one.recipe = recipe(steps=40, batch=50, lr=1e-2).filled(8)
    made = trainer([one], x, tmp_path)
    made.train()
    first, *_, last = [line for line in made.state.log_history if "loss" in line]
    assert first["step"] == 1
    assert last["step"] == 40
    for name in ("grad_norm", "learning_rate", "fvu", "l0", "dead", "threshold"):
        assert isinstance(last[name], float)
    assert last["fvu"] < first["fvu"]
    assert last["l0"] == pytest.approx(2, abs=0.1)
    assert sum(last["densities"]) == 24


def test_figures_of_several_saes_have_their_names(tmp_path):
    x, _ = planted(200)
    pair = [learner(8, 24, 0.1, name=name, steps=2, batch=20) for name in ("one", "two")]
    made = trainer(pair, x, tmp_path)
    made.train()
    assert {"one/fvu", "two/fvu", "loss"} <= set(made.state.log_history[0])


# Folding


def test_folding_the_scale_changes_no_reconstruction():
    made = learner(4, 6, scale=4.0, seed=2)
    inner = made.sae
    with torch.no_grad():
        inner.b_enc.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0, 0.5, -0.4]))
        inner.b_dec.copy_(torch.tensor([0.5, -1.0, 0.0, 2.0]))
    made.threshold.fill_(0.6)
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    pre = ((4 * x - inner.b_dec) @ inner.W_enc + inner.b_enc).relu()
    expected = (inner.decode(pre * (pre > 0.6)) / 4).detach()
    torch.testing.assert_close(made.finished()(x), expected)


@pytest.mark.parametrize("activation", [Relu(), JumpReLU(torch.linspace(0, 1, 6))])
def test_folding_the_norms_keeps_every_reconstruction_and_makes_values_of_unit_directions(
    activation,
):
    generator = torch.Generator().manual_seed(0)
    sae = SAE(4, 6, "h", activation, pre_bias=False).requires_grad_(False)
    sae.W_dec.mul_(torch.linspace(0.2, 3, 6)[:, None])
    sae.b_enc.copy_(torch.randn(6, generator=generator))
    x = torch.randn(50, 4, generator=generator)
    before, values, norms = sae(x), sae.encode(x), sae.W_dec.norm(dim=1)
    folded = unit(copy.deepcopy(sae))
    torch.testing.assert_close(folded(x), before)
    torch.testing.assert_close(folded.encode(x), values * norms)
    torch.testing.assert_close(folded.W_dec.norm(dim=1), torch.ones(6))


def test_a_top_k_keeps_its_norms_because_what_it_keeps_would_change():
    sae = SAE(4, 6, "h", TopK(2)).requires_grad_(False)
    sae.W_dec.mul_(2)
    torch.testing.assert_close(unit(sae).W_dec.norm(dim=1), torch.full((6,), 2.0))


def test_the_scale_of_a_top_k_folds_too():
    sae = SAE(4, 6, "h", TopK(2)).requires_grad_(False)
    sae.b_dec.copy_(torch.tensor([0.5, -1.0, 0.0, 2.0]))
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    expected = sae(3 * x) / 3
    torch.testing.assert_close(rescaled(copy.deepcopy(sae), 3.0)(x), expected)


# Steps


def test_silence_is_counted_and_the_threshold_follows_slowly():
    made = learner(steps=56).train()
    with torch.no_grad():
        made.sae.W_dec.copy_(torch.eye(2))
        made.sae.W_enc.copy_(torch.eye(2))
    made(torch.tensor([[3.0, 0.0]]))
    assert made.silent.tolist() == [0, 1]
    assert made.threshold.item() == 3.0
    made(torch.tensor([[0.0, 7.0]]))
    assert made.silent.tolist() == [1, 0]
    assert made.threshold.item() == 4.0
    made.eval()(torch.tensor([[0.0, 9.0]]))
    assert made.silent.tolist() == [1, 0]


def test_steps_along_a_direction_are_taken_out():
    made = learner(2, 1)
    with torch.no_grad():
        made.sae.W_dec.copy_(torch.tensor([[0.6, 0.8]]))
    made.sae.W_dec.grad = torch.tensor([[5.0, 0.0]])
    UnitRows().on_pre_optimizer_step(None, None, None, model=Learners([made]))
    torch.testing.assert_close(made.sae.W_dec.grad, torch.tensor([[3.2, -2.4]]))


def test_a_step_leaves_no_tensors_behind(tmp_path):
    counts = []

    class Count(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):  # noqa: ARG002
            gc.collect()
            found = [x for x in gc.get_objects() if type(x) in (torch.Tensor, torch.nn.Parameter)]
            counts.append(sum(x.shape == (23, 8) for x in found))

    x, _ = planted(600)
    learning = trainer([learner(8, 23, steps=8, batch=32)], x, tmp_path)
    learning.add_callback(Count())
    learning.train()
    # The decoder and Adam's two averages of its gradient, from the first step to the last.
    assert counts == [3] * 8


def test_the_rate_warms_up_holds_and_falls_to_nothing_in_the_last_fifth(tmp_path):
    x, _ = planted(500)
    made = learner(8, 16, steps=100, batch=8, warmup=0.05, decay=0.2, lr=1e-3)
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-3)
    schedule = trainer([made], x, tmp_path).create_scheduler(100, optimizer)
    rates = []
    for _ in range(100):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[0] < 3e-4
    assert rates[5:80] == pytest.approx([1e-3] * 75)
    assert rates[90] == pytest.approx(5e-4)
    assert rates[99] < 1e-4


@pytest.mark.parametrize("objective", [objectives.TopK(2), BatchTopK(2), Matryoshka(2, (8, 24))])
def test_rows_held_at_unit_norm_take_four_times_the_steps_of_the_rest(objective, tmp_path):
    x, _ = planted(500)
    made = learner(8, 24, objective=objective, steps=10, batch=8, lr=1e-3)
    rates = rates_of(trainer([made], x, tmp_path), made)
    assert rates == {"W_enc": 1e-3, "b_enc": 1e-3, "b_dec": 1e-3, "W_dec": 4e-3}


def test_rows_that_are_free_or_frozen_take_no_longer_steps(tmp_path):
    x, _ = planted(500)
    free = learner(8, 24, objective=L1(1.0), steps=10, batch=8, lr=1e-3)
    assert rates_of(trainer([free], x, tmp_path), free)["W_dec"] == 1e-3
    frozen = learner(8, 24, steps=10, batch=8, lr=1e-3, frozen=True)
    rates = rates_of(trainer([frozen], x, tmp_path), frozen)
    assert rates == {"W_enc": 1e-3, "b_enc": 1e-3, "b_dec": 1e-3}


def rates_of(training, learner):
    """How fast each parameter of a learner's SAE is trained."""
    names = {id(p): name for name, p in learner.sae.named_parameters()}
    groups = training.create_optimizer().param_groups
    assert groups[0]["lr"] == learner.recipe.lr  # which is what the log tells
    return {names[id(p)]: group["lr"] for group in groups for p in group["params"]}


def test_the_geometric_median_ignores_how_far_an_outlier_is():
    x = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [500.0, 500.0]])
    near, far = geometric_median(x), geometric_median(torch.cat([x[:4], 9 * x[4:]]))
    assert near.norm() < 2
    torch.testing.assert_close(near, far, atol=0.05, rtol=0)


# What is refused


def test_broken_activations_are_refused():
    x, _ = planted(100)
    x[3, 3] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        fit(Rows(x), recipe(batch=10), progress=False)


def test_more_features_than_the_dictionary_has_are_refused():
    with pytest.raises(ValueError, match=r"k = 9 .* dictionary of 4"):
        recipe(4, BatchTopK(9))


def test_training_does_not_touch_the_data(trained):
    _, x, _ = trained
    torch.testing.assert_close(x, planted()[0])


def test_too_few_vectors_for_one_batch_are_refused_and_not_left_untrained():
    x, _ = planted(vectors=200)
    with pytest.raises(ValueError, match="200 vectors do not fill one batch of 256"):
        fit(Rows(x), recipe(steps=3, batch=256))


def test_a_loss_that_is_no_number_stops_training_and_names_the_step_and_the_cause(tmp_path):
    x, _ = planted(200)
    diverging = learner(8, 24, 0.1, steps=50, batch=20, lr=1e30, warmup=0.0)
    with pytest.raises(FloatingPointError, match=r"at step \d+: .*diverged; a smaller lr"):
        trainer([diverging], x, tmp_path).train()
    x[150:] = math.inf
    with pytest.raises(FloatingPointError, match=r"activations at 'h' hold NaN .* No checkpoint"):
        trainer([learner(8, 24, 0.1, steps=50, batch=20)], x, tmp_path).train()


def test_directions_are_normal_vectors_at_the_start():
    sae = initial(recipe(), torch.arange(8.0))
    torch.testing.assert_close(sae.W_dec, F.normalize(sae.W_dec, dim=1))
    torch.testing.assert_close(sae.W_enc, sae.W_dec.T)
    torch.testing.assert_close(sae.b_dec.detach(), torch.arange(8.0))
