"""Controls: the same tokens, the same distance, another direction."""

from dataclasses import replace

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import activations
from sae_widgets.steering.hooks import Passes, compile_arms

IDS = torch.tensor([[0, 30, 41, 52, 33]])  # 0 is special
ADD = sw.Add(5, 2.0, unit="raw")
EDITS = {  # of a feature that fires
    "add": lambda feature: sw.Add(feature, 2.0, unit="raw"),
    "set": lambda feature: sw.Set(feature, 2.0, unit="raw"),
    "scale": lambda feature: sw.Scale(feature, 3.0),
    "project": lambda feature: sw.ProjectOut(feature),
    "vector": lambda _: sw.Ablate([0.0, 4.0, -3.0, *[0.0] * 13]),
    "waiting": lambda feature: sw.Add(5, 2.0, unit="raw", when=sw.Fires(feature)),
}


def moved(model, saes, *arms):
    """What each arm adds to the activations."""
    change = compile_arms(model, saes, arms)[tiny.HOOK]
    passes = Passes(model)
    x = activations(model, IDS, tiny.HOOK).repeat(len(arms), 1, 1)
    passes.begin(IDS.repeat(len(arms), 1), past=0, prompt=5)
    return change.during(passes)(x) - x


@pytest.fixture
def saes(sae):
    """The SAE, and a placebo with tilted directions beside it."""
    placebo = tiny.make_sae(name="placebo")
    placebo.placebo = "made up"
    tilted = 0.6 * sae.W_dec + 0.8 * sae.W_dec.roll(1, dims=1)  # cosine .6 with its own number
    placebo.W_dec.copy_(tilted)
    placebo.W_dec[9] = 0
    placebo.W_dec[9, [5, 6]] = torch.tensor([3.4, 2.1071])  # cosine .85, four times as long
    return {sae.name: sae, "placebo": placebo}


@pytest.mark.parametrize("kind", ["random", "flipped", "neighbour", "placebo"])
@pytest.mark.parametrize("name", EDITS)
def test_a_control_moves_as_far_at_the_same_tokens_but_elsewhere(any_model, saes, name, kind):
    fires = saes["signed"].encode(activations(any_model, IDS, tiny.HOOK)[0, 1:]) > 0.01
    arm = sw.Arm("steered", (EDITS[name](int(fires.any(0).nonzero()[3])),))
    steered, control = moved(any_model, saes, arm, *sw.controls(arm, kind))
    torch.testing.assert_close(steered.norm(dim=-1), control.norm(dim=-1), atol=1e-4, rtol=1e-4)
    acts = steered.norm(dim=-1) > 1e-3
    assert acts.any()
    cosine = torch.cosine_similarity(steered, control, dim=-1)[acts]
    assert cosine.max() < 0.9


def test_the_controls_are_the_directions_they_say(model, saes):
    arm = sw.Arm("steered", (ADD,))
    found = moved(model, saes, *sw.controls(arm, "flipped", "neighbour", "placebo"))[:, 1]
    axis = torch.eye(16)
    torch.testing.assert_close(found[0], -2 * axis[5])
    # All other features are at right angles or opposite: the first of them is as near as any.
    torch.testing.assert_close(found[1], 2 * axis[0])
    expected = 1.7 * axis[5] + 1.05355 * axis[6]
    torch.testing.assert_close(found[2], expected, atol=1e-4, rtol=1e-4)


def test_random_directions_are_the_seed_s(model, saes):
    arms = [sw.Arm(str(i), (ADD,), control="random", seed=i // 2) for i in range(4)]
    found = moved(model, saes, *arms)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[2], found[3])
    assert not torch.allclose(found[0], found[2], atol=0.1)


@pytest.mark.parametrize("kind", ["neighbour", "placebo"])
def test_a_control_of_a_push_away_is_a_push_away_from_the_same_direction(model, saes, kind):
    arms = [sw.Arm(str(s), (sw.Add(5, s, unit="raw"),), control=kind) for s in (2.0, -2.0)]
    towards, away = moved(model, saes, *arms)
    torch.testing.assert_close(towards, -away)


def test_what_other_edits_there_are_does_not_change_a_random_direction(model, saes):
    other = sw.Add(9, 0.0, unit="raw")
    alone = sw.Arm("alone", (ADD,), control="random")
    beside = sw.Arm("beside", (replace(other, on=False), other, ADD), control="random")
    one, two = moved(model, saes, alone, beside)
    torch.testing.assert_close(one, two)
    twice = sw.Arm("twice", (ADD, ADD), control="random")
    torch.testing.assert_close(moved(model, saes, twice)[0], 2 * one)


def test_controls_are_named_after_their_arm_and_keep_its_manner():
    arm = sw.Arm("sea", (ADD,), restore_norm=True, seed=3)
    one, two = sw.controls(arm, "random", "flipped")
    assert (one.name, two.name) == ("sea, random", "sea, flipped")
    assert one.restore_norm
    assert two.seed == 3


def test_a_control_without_anything_to_take_is_an_error(model, sae):
    with pytest.raises(ValueError, match=r"'placebo', but there is no placebo SAE at 'blocks.1"):
        moved(model, sae, sw.Arm("a", (ADD,), control="placebo"))
    with pytest.raises(ValueError, match=r"one of 'random', 'flipped', .*; got 'other'"):
        sw.Arm("a", control="other")
