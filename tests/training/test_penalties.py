"""Objectives that charge for firing: what they charge, what learns from it, and what comes out."""

import math

import pytest
import torch
from planted import planted

from sae_widgets.sae import SAE, JumpReLU, Relu
from sae_widgets.training import penalties
from sae_widgets.training.activations import Rows
from sae_widgets.training.objectives import Batch
from sae_widgets.training.penalties import L1, Gated, TanhJumpReLU
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.trainer import Learner, Learners, SAETrainer, arguments, fit, initial

NOBODY = torch.zeros(6, dtype=torch.bool)
JUMP = penalties.JumpReLU(l0=1.5, weight=0.7, bandwidth=0.4, threshold=0.3, ramp=0.5)
TANH = TanhJumpReLU(sparsity=0.7, steepness=3.0, bandwidth=0.5, threshold=0.3, rescue=0.05)
EVERY = [L1(0.6), JUMP, TANH, Gated(0.6)]
NAMED = pytest.mark.parametrize("objective", EVERY, ids=lambda each: type(each).__name__)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def equipped(objective):
    """Six features in four dimensions; no bias is zero, and no two lengths are equal."""
    sae = SAE(4, 6, "h", pre_bias=objective.pre_bias)
    objective.equip(sae)
    with torch.no_grad():
        sae.W_dec.copy_(noise(6, 4, seed=1))
        sae.W_enc.copy_(noise(4, 6, seed=2))
        sae.b_enc.copy_(0.3 * noise(6, seed=3))
        sae.b_dec.copy_(noise(4, seed=4))
        for number, name in enumerate(("log_threshold", "log_slope", "b_value")):
            if hasattr(sae, name):
                getattr(sae, name).add_(0.5 * noise(6, seed=5 + number))
    return sae.requires_grad_(True)


def judged(objective, sae, x, progress=1.0):
    return objective(sae, Batch(x, x, NOBODY, progress))


def compare(objective, sae, x, expected, progress=1.0):
    """The loss and all gradients of the objective are those of `expected`, which torch derives."""
    parameters = dict(sae.named_parameters())
    loss = judged(objective, sae, x, progress).loss
    found = torch.autograd.grad(loss, list(parameters.values()))
    wanted = torch.autograd.grad(expected, list(parameters.values()), allow_unused=True)
    torch.testing.assert_close(loss, expected)
    for name, one, other in zip(parameters, found, wanted, strict=True):
        torch.testing.assert_close(one, other, msg=lambda text, name=name: f"{name}: {text}")


def test_l1_charges_for_the_length_that_each_feature_adds():
    sae, x = equipped(L1()), noise(30, 4)
    f = torch.relu(x @ sae.W_enc + sae.b_enc)
    error = ((x - f @ sae.W_dec - sae.b_dec) ** 2).sum() / 30
    charge = sum(f[:, i].sum() * sae.W_dec[i].square().sum().sqrt() for i in range(6)) / 30
    compare(L1(0.6), sae, x, error + 0.6 * charge)


def test_gates_are_charged_for_and_reconstruct_without_teaching_the_decoder():
    sae, x = equipped(Gated()), noise(30, 4)
    read = x - sae.b_dec
    gate = read @ sae.W_enc + sae.b_enc
    strength = torch.relu(read @ (sae.W_enc * sae.log_slope.exp()) + sae.b_value)
    f = (gate > 0).float() * strength
    error = ((x - f @ sae.W_dec - sae.b_dec) ** 2).sum() / 30
    frozen, centre = sae.W_dec.detach(), sae.b_dec.detach()
    gates = ((x - torch.relu(gate) @ frozen - centre) ** 2).sum() / 30
    compare(Gated(0.6), sae, x, error + 0.6 * torch.relu(gate).sum() / 30 + gates)


def with_straight_through(sae, z, bandwidth, loss_of):
    """A loss of values and firings whose gradient goes through both by the estimators' formulas.

    d value / d z = [z > t], d value / d t = -t / bandwidth near t, d fires / d t = -1 / bandwidth.
    """
    t = sae.log_threshold.exp()
    values = (z * (z > t)).detach().requires_grad_()
    fires = (z > t).float().detach().requires_grad_()
    loss = loss_of(values, fires)
    to_value, to_fires = torch.autograd.grad(loss, [values, fires], retain_graph=True)
    near = ((z - t).abs() < bandwidth / 2).float()
    slope = -near * (to_value * t + to_fires) / bandwidth
    # What has this value and these gradients: the loss, and terms that are linear and now zero.
    through = (to_value * (z > t) * (z - z.detach())).sum()
    return loss + through + (slope.detach() * (t - t.detach())).sum()


def test_jump_relu_charges_for_missing_the_number_and_only_thresholds_learn_from_that():
    sae, x = equipped(JUMP), noise(30, 4)

    def loss_of(values, fires):
        error = ((x - values @ sae.W_dec - sae.b_dec) ** 2).mean()
        return error + 0.5 * 0.7 * (fires.sum(1).mean() / 1.5 - 1) ** 2

    z = torch.relu((x - sae.b_dec) @ sae.W_enc + sae.b_enc)
    expected = with_straight_through(sae, z, 0.4, loss_of)
    compare(JUMP, sae, x, expected, progress=0.25)  # half of the ramp
    sae.zero_grad()
    judged(JUMP, sae, x).loss.backward()
    assert (sae.log_threshold.grad != 0).sum() >= 4


def test_tanh_charges_for_values_but_hardly_for_strong_ones_and_for_staying_below():
    sae, x = equipped(TANH), noise(30, 4)
    z = x @ sae.W_enc + sae.b_enc
    length = sae.W_dec.norm(dim=1)
    short = (torch.relu(sae.log_threshold.exp() - z) * length).sum() / 30

    def loss_of(values, fires):
        error = ((x - values @ sae.W_dec - sae.b_dec) ** 2).sum() / 30
        charge = torch.tanh(3 * values * length).sum() / 30
        return error + 0.25 * 0.7 * charge + 0 * fires.sum()

    expected = with_straight_through(sae, z, 0.5, loss_of) + 0.05 * short
    compare(TANH, sae, x, expected, progress=0.25)


@NAMED
def test_charges_rise_over_the_ramp_of_the_objective(objective):
    sae, x = equipped(objective), noise(30, 4)
    loss = {at: judged(objective, sae, x, at).loss.item() for at in (0.0, 0.025, 0.05, 0.25, 1.0)}
    at_025, at_05, at_25 = {
        "L1": (0.5, 1.0, 1.0),
        "Gated": (0.5, 1.0, 1.0),
        "JumpReLU": (0.05, 0.1, 0.5),
        "TanhJumpReLU": (0.025, 0.05, 0.25),
    }[type(objective).__name__]
    charge = loss[1.0] - loss[0.0]
    assert charge > 0.01
    for at, share in ((0.025, at_025), (0.05, at_05), (0.25, at_25)):
        assert loss[at] - loss[0.0] == pytest.approx(share * charge, rel=1e-3, abs=1e-6)


@NAMED
def test_the_trained_sae_does_what_the_one_in_training_did(objective):
    filled = Recipe("h", 6, objective).filled(4)
    learner = Learner(equipped(objective).requires_grad_(False), filled, 2.5)
    x = noise(200, 4, seed=9)
    training = judged(objective, learner.sae, 2.5 * x)
    sae = learner.finished()
    torch.testing.assert_close(sae(x), training.guess / 2.5)
    torch.testing.assert_close((sae.encode(x) > 0).sum(0), training.fired)
    torch.testing.assert_close(sae.W_dec.norm(dim=1) > 0.999, torch.ones(6, dtype=torch.bool))
    assert 0.1 < (sae.encode(x) > 0).float().mean() < 0.9
    assert isinstance(sae.activation, Relu if isinstance(objective, L1) else JumpReLU)


def test_a_gated_feature_may_have_a_negative_threshold_and_then_fires_above_zero():
    sae = equipped(Gated())
    with torch.no_grad():
        sae.b_enc.fill_(1.0)
        sae.b_value.fill_(0.2)
    threshold = Gated().finished(sae, 0.0).activation.threshold
    assert (threshold < 0).any()
    x = noise(200, 4, seed=9)
    finished = Gated().finished(sae, 0.0)
    torch.testing.assert_close(finished(x), judged(Gated(), sae, x).guess)


@pytest.mark.parametrize(
    ("objective", "lr"),
    [
        (L1(1.0), 2e-2),
        (penalties.JumpReLU(l0=2, bandwidth=1.0), 3e-2),
        (TanhJumpReLU(sparsity=0.5, steepness=1.0, bandwidth=1.0), 2e-2),
        (Gated(1.0), 2e-2),
    ],
    ids=["L1", "JumpReLU", "TanhJumpReLU", "Gated"],
)
def test_planted_directions_are_found(objective, lr):
    x, directions = planted()
    recipe = Recipe("h", 24, objective, steps=300, batch=256, lr=lr, seed=1)
    sae = fit(Rows(x), recipe, progress=False)
    untrained = initial(recipe, torch.zeros(8)).W_dec.detach()
    untrained = untrained / untrained.norm(dim=1, keepdim=True)
    nearest = (directions @ sae.W_dec.T).amax(1)
    assert nearest.mean() > (directions @ untrained.T).amax(1).mean() + 0.2
    assert nearest.min() > 0.75
    error = (x - sae(x)).square().sum() / (x - x.mean(0)).square().sum()
    assert error < 0.2
    assert 1 < (sae.encode(x) > 0).sum(1).float().mean() < 5


# Anthropic's recipe of April 2024; how the rate falls is in test_trainer


def learning(objective, folder, **options):
    x, _ = planted(600)
    recipe = Recipe("h", 24, objective, steps=20, batch=64, lr=1e-2, **options).filled(8)
    learner = Learner(initial(recipe, torch.zeros(8)), recipe, 0.1)
    made = SAETrainer(Learners([learner]), Rows(x), arguments(recipe, str(folder)), progress=False)
    return learner, made


def test_l1_starts_with_short_directions_and_lets_them_be_of_any_length(tmp_path):
    learner, trainer = learning(L1(), tmp_path)
    W_dec, W_enc = learner.sae.W_dec.detach().clone(), learner.sae.W_enc.detach()
    torch.testing.assert_close(W_dec.norm(dim=1), torch.full((24,), 0.1))
    torch.testing.assert_close(W_enc, W_dec.T)
    assert not learner.sae.b_dec.any()
    assert not learner.sae.pre_bias
    trainer.train()
    lengths = learner.sae.W_dec.norm(dim=1)
    assert lengths.max() > 1.2 * lengths.min()
    torch.testing.assert_close(learner.finished().W_dec.norm(dim=1), torch.ones(24))


def test_a_feature_that_never_fires_is_left_as_it_is(tmp_path):
    learner, trainer = learning(L1(), tmp_path, patience=0.5)
    assert learner.recipe.silence == 10
    with torch.no_grad():
        learner.sae.b_enc[3] = -1e6
    before = learner.sae.W_enc[:, 3].clone(), learner.sae.W_dec[3].clone()
    trainer.train()
    assert learner.dead[3]
    assert torch.equal(learner.sae.W_enc[:, 3], before[0])
    assert torch.equal(learner.sae.W_dec[3], before[1])


def test_gradients_are_no_longer_than_clip(tmp_path):
    learner, trainer = learning(L1(), tmp_path)
    assert learner.recipe.clip == 1.0
    learner.sae.W_dec.grad = torch.full_like(learner.sae.W_dec, 3.0)
    learner.sae.b_dec.grad = torch.full_like(learner.sae.b_dec, 4.0)
    norm = trainer._clip_grad_norm(trainer.model)
    assert norm.item() == pytest.approx((9 * 24 * 8 + 16 * 8) ** 0.5)
    left = learner.sae.W_dec.grad.square().sum() + learner.sae.b_dec.grad.square().sum()
    assert left.item() == pytest.approx(1.0, rel=1e-4)


# What is refused


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: L1(math.nan), "finite, 0 or more; got nan"),
        (lambda: L1(-1.0), "l1 weighs what is charged for: finite, 0 or more; got -1.0"),
        (lambda: L1(ramp=5.0), "ramp is a share of the run, from 0 to 1; got 5.0"),
        (lambda: Gated(-0.5), "l1 weighs what is charged for: finite, 0 or more; got -0.5"),
        (lambda: TanhJumpReLU(-2.0), "sparsity weighs"),
        (lambda: TanhJumpReLU(rescue=-1.0), "rescue weighs"),
        (lambda: TanhJumpReLU(steepness=0.0), "steepness is finite and more than 0; got 0.0"),
        (lambda: TanhJumpReLU(threshold=0.0), "finite and more than 0; got 2.0 and 0.0"),
        (lambda: penalties.JumpReLU(8, bandwidth=0.0), "finite and more than 0; got 0.0 and 1.0"),
        (lambda: penalties.JumpReLU(0), "l0 is the wanted .* more than 0; got 0"),
        (lambda: penalties.JumpReLU(math.nan), "finite and more than 0; got nan"),
        (lambda: TanhJumpReLU(steepness=math.inf), "finite and more than 0; got inf"),
        (lambda: penalties.JumpReLU(8, weight=-1.0), "weight weighs"),
        (lambda: Recipe("h", 8, penalties.JumpReLU(9)), "l0 = 9 features cannot fire of a dict"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_first_threshold_lets_as_many_features_fire_as_are_wanted():
    objective = penalties.JumpReLU(l0=1.5)
    sae, x = equipped(objective), noise(500, 4)
    objective.start(sae, x)
    assert judged(objective, sae, x).fired.sum().item() == pytest.approx(750, abs=2)
