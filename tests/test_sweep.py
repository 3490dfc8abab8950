"""Sweeps and receipts: what they say is what plain torch finds in the same texts."""

import itertools
import math

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import activations
from sae_widgets.steering.effects import divergence
from sae_widgets.steering.generation import generate
from sae_widgets.steering.receipt import receipt
from sae_widgets.steering.sweep import sweep

PROMPT = [0, 30, 41, 52]


def logprob(model, sae, ids, edits=()):
    with torch.no_grad(), sw.steering(model, sae, list(edits)):
        return model(torch.tensor([ids]))[0].float().log_softmax(-1)


def test_a_point_is_what_plain_torch_finds_in_its_text(any_model, sae):
    edits = [sw.Add(5, 2.0, unit="raw")]
    found = sweep(any_model, sae, PROMPT, edits, [0.5, 2.0], max_new_tokens=6, budget=0.5)
    assert [arm.name for arm in found.run.arms] == [
        "base", "× 0.5", "× 2", "× 0.5, random", "× 2, random"
    ]  # fmt: skip
    assert [point.factor for point in found.control] == [0.5, 2.0]
    point, row = found.steered[1], 2
    assert point.text == found.run.texts[row]
    text = [*PROMPT, *found.run.tokens[row]]
    base = logprob(any_model, sae, text)[3:-1]
    steered = logprob(any_model, sae, text, [sw.Add(5, 4.0, unit="raw")])[3:-1]
    kl = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=base),
        torch.distributions.Categorical(logits=steered),
    )
    assert point.kl == pytest.approx(float(kl.mean()), abs=1e-4)
    own = [*PROMPT, *found.run.tokens[0]]
    usual = logprob(any_model, sae, own)[3:-1]

    def nll(under, tokens):
        return -float(under.gather(-1, torch.tensor(tokens)[:, None]).mean())

    expected = nll(base, found.run.tokens[row]) - nll(usual, found.run.tokens[0])
    assert point.surprise == pytest.approx(expected, abs=1e-4)
    values = sae.encode(activations(any_model, torch.tensor([text]), sae.hook)[0])[4:, 5]
    assert point.concept == pytest.approx(float(values.mean()) / 1.5, abs=1e-4)  # peak 1.5
    pairs = list(itertools.pairwise(found.run.tokens[row]))
    assert point.distinct == pytest.approx(len(set(pairs)) / len(pairs))
    assert found.base.surprise == 0
    assert found.base.kl == 0


def test_the_safe_factor_keeps_to_the_budget_on_the_unsteered_text(model, sae):
    edits = [sw.Add(5, 2.0, unit="raw", where="generated")]
    found = sweep(model, sae, PROMPT, edits, [1.0, 30.0], max_new_tokens=6, budget=0.5)
    assert 0 < found.safe < 30
    text = [*PROMPT, *found.run.tokens[0]]
    plain = logprob(model, sae, text)
    with (
        torch.no_grad(),
        sw.steering(model, sae, [sw.Add(5, 2 * found.safe, unit="raw", where="generated")]),
    ):
        model(torch.tensor([PROMPT]))
        steered = model(torch.tensor([text]))[0].float().log_softmax(-1)
    assert float(divergence(plain, steered).mean()) == pytest.approx(0.5, abs=0.02)


def test_a_concept_of_one_s_own_is_asked_of_every_text(model, sae):
    heard = []
    found = sweep(
        model, sae, PROMPT, [sw.Add(5, 1.0)], [1.0], max_new_tokens=3,
        concept=lambda text: heard.append(text) or len(text), control=None,
    )  # fmt: skip
    assert heard == list(found.run.texts)
    assert found.steered[0].concept == len(found.run.texts[1])
    assert found.control == ()


def test_a_sweep_prints_as_a_table(model, sae):
    found = sweep(model, sae, PROMPT, [sw.Add(5, 1.0)], [1.0, 2.0], max_new_tokens=3)
    lines = repr(found).splitlines()
    assert len(lines) == 5
    assert lines[0].split() == ["×", "concept", "control", "KL", "surprise", "distinct"]
    assert lines[-1].startswith("within 1 nats a token up to × ")
    assert lines[-1].endswith("the largest tried") == (found.safe == 2.0)


@pytest.mark.parametrize(
    ("factors", "message"),
    [([], "at least one factor and one edit"), ([1.0, 1.0], "differ from each other")],
)
def test_a_sweep_that_makes_no_sense_is_refused(model, sae, factors, message):
    with pytest.raises(ValueError, match=message):
        sweep(model, sae, PROMPT, [sw.Add(5, 1.0)], factors)


def test_a_receipt_shows_that_what_was_asked_for_is_found(any_model, sae):
    arms = [
        sw.Arm("base"),
        sw.Arm("set", (sw.Set(5, 2.0, unit="raw"), sw.Ablate(9, where="prompt"))),
        sw.Arm("late", (sw.Target(7, 1.0, where="generated"),)),
        sw.Arm("set, random", (sw.Set(5, 2.0, unit="raw"),), control="random"),
    ]
    run = generate(any_model, sae, PROMPT, arms, max_new_tokens=5)
    first, second, late, control = receipt(any_model, sae, run).entries
    assert (first.arm, first.asked, first.tokens) == ("set", 2.0, 3 + len(run.tokens[1]) - 1)
    # Where feature 5 is silent, its axis points backwards: a Set falls short, a Target does not.
    read = [*PROMPT, *run.tokens[1][:-1]]
    x = activations(any_model, torch.tensor([read]), sae.hook)[0, [t != 0 for t in read]]
    along = (x - sae.b_dec)[:, 5]
    assert first.found == pytest.approx(float((along + 2 - along.relu()).relu().mean()), abs=1e-3)
    assert second.asked is None
    assert late.asked == pytest.approx(1.7)  # one peak
    assert late.found == pytest.approx(1.7, abs=1e-3)
    assert late.tokens == sum(token != 0 for token in run.tokens[2][:-1])
    assert abs(control.found - control.before) < abs(2.0 - control.before)
    text = repr(receipt(any_model, sae, run))
    assert "hooks ran 1 × on the prompt" in text
    assert "Set(5, 2.0, unit='raw') at" in text
    assert "→ 1.7, 1.7 asked for" in text


def test_each_edit_of_a_receipt_is_measured_where_it_acted_itself(model, sae):
    edits = (sw.Add(9, 1.0, unit="raw", where="prompt"), sw.Target(7, 1.0, where="generated"))
    run = generate(model, sae, PROMPT, [sw.Arm("both", edits)], max_new_tokens=5)
    add, target = receipt(model, sae, run).entries
    assert add.tokens == 3
    assert target.tokens == sum(token != 0 for token in run.tokens[0][:-1])
    assert target.found == pytest.approx(1.7, abs=1e-3)


def test_a_receipt_of_another_model_s_run_is_refused(model, sae):
    run = generate(model, sae, PROMPT, [sw.Arm("base")], max_new_tokens=2)
    other = tiny.make_sae(name="signed")
    other.W_dec[0, 0] = 0.5
    with pytest.raises(ValueError, match="made with 'signed' of other weights"):
        receipt(model, other, run)


def test_a_sweep_whose_edits_cost_more_than_the_budget_at_any_factor_keeps_its_points(model, sae):
    found = sweep(model, sae, PROMPT, [sw.Replace(5, 1.0)], [1.0], max_new_tokens=3, budget=1e-6)
    assert found.safe == 0.0
    assert found.steered[0].kl > 0


def test_an_edit_that_is_off_is_not_what_a_sweep_is_about(model, sae):
    off = sw.Add(9, 1.0, on=False)
    one = sweep(model, sae, PROMPT, [off, sw.Add(5, 1.0)], [1.0], max_new_tokens=3)
    two = sweep(model, sae, PROMPT, [sw.Add(5, 1.0)], [1.0], max_new_tokens=3)
    assert one.steered == two.steered
    with pytest.raises(ValueError, match="one edit that is on"):
        sweep(model, sae, PROMPT, [off], [1.0])


def test_a_receipt_says_when_an_edit_found_nothing_to_act_on(model, sae):
    waiting = sw.Add(5, 2.0, unit="raw", when=sw.Fires(7, 1e9))
    run = generate(model, sae, PROMPT, [sw.Arm("waiting", (waiting,))], max_new_tokens=3)
    found = receipt(model, sae, run)
    assert found.entries[0].tokens == 0
    assert math.isnan(found.entries[0].found)
    assert "it found no token to act on" in repr(found)
