"""Effects on a given text: against plain torch, at the budget, and with nothing left behind."""

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.explain import logit_lens
from sae_widgets.model import Reading, activations
from sae_widgets.steering.effects import (
    BASE,
    divergence,
    effects,
    input_score,
    likelihoods,
    output_score,
    predictions,
    scaled,
    side_effects,
    within_budget,
)
from sae_widgets.steering.prompts import Prompts

IDS = [0, 30, 41, 52, 33]


def logits(model, sae=None, edits=()):
    with torch.no_grad(), sw.steering(model, sae, list(edits)):
        return model(torch.tensor([IDS]))[0].float()


def test_the_kl_is_torch_s_own_of_the_two_distributions(any_model, sae):
    edits = [sw.Add(5, 2.0), sw.Set(7, 1.0, unit="raw")]
    found = effects(any_model, sae, IDS, edits, n=3)
    plain = torch.distributions.Categorical(logits=logits(any_model))
    steered = torch.distributions.Categorical(logits=logits(any_model, sae, edits))
    expected = torch.distributions.kl_divergence(plain, steered)
    torch.testing.assert_close(found.kl, expected, atol=1e-5, rtol=1e-4)
    assert found.kl[0] == 0  # a special token is not edited, and nothing stands before it
    assert found.kl[1:].min() > 0
    assert found.mean == pytest.approx(float(expected.mean()), abs=1e-5)


def test_a_text_that_is_measured_again_is_read_from_the_first_block_that_an_edit_reaches(
    deep_model,
):
    sae, prompts, ran = tiny.make_sae("blocks.2.hook_resid_post"), Prompts(), []
    handle = deep_model.blocks[1].attn.register_forward_pre_hook(
        lambda *_: ran.append(1), with_kwargs=True
    )
    for strength in (2.0, -1.5, 0.5):
        ran.clear()
        edits = [sw.Add(5, strength), sw.Set(7, 1.0, unit="raw", where="generated")]
        again = effects(deep_model, sae, IDS, edits, prompt=3, prompts=prompts)
        assert bool(ran) == (strength == 2.0 or Reading(deep_model).rereads)
        found = effects(deep_model, sae, IDS, edits, prompt=3)
        torch.testing.assert_close(again.kl, found.kl, atol=1e-4, rtol=1e-3)
        assert found.kl[1:].min() > 0
    handle.remove()


def test_tokens_gained_and_lost_are_those_whose_probability_changes_most(model, sae):
    edits = [sw.Add(5, 3.0)]
    found = effects(model, sae, IDS, edits, n=2)
    change = logits(model, sae, edits).softmax(-1) - logits(model).softmax(-1)
    for position in range(1, 5):
        order = change[position].argsort()
        assert found.lost[position].tolist() == order[:2].tolist()
        assert found.gained[position].tolist() == order.flip(0)[:2].tolist()
        best = change[position, found.gained[position, 0]]
        torch.testing.assert_close(found.gained_by[position, 0], best, atol=1e-6, rtol=1e-4)
        assert found.lost_by[position].max() < 0


def test_an_edit_of_generated_tokens_acts_after_the_prompt(model, sae):
    edits = [sw.Add(5, 3.0, where="generated")]
    found = effects(model, sae, IDS, edits, prompt=3)
    assert torch.equal(found.kl[:3], torch.zeros(3))
    later = [sw.Add(5, 3.0, where=sw.Span(3))]
    assert torch.equal(found.kl, effects(model, sae, IDS, later).kl)
    assert found.kl[3] > 0
    written = side_effects(model, sae, IDS, edits, prompt=3)
    assert torch.equal(written.after, side_effects(model, sae, IDS, later).after)


@pytest.mark.parametrize("measure", [effects, side_effects])
def test_an_edit_that_cannot_act_on_a_text_is_an_error_not_a_zero(model, sae, measure):
    edits = [sw.Add(5, 3.0, where="generated")]
    with pytest.raises(ValueError, match="acts on generated tokens, and all 5 tokens of this text"):
        measure(model, sae, IDS, edits)
    measure(model, sae, IDS, [sw.Add(5, 3.0, where="generated", on=False)])


def test_measuring_leaves_no_hooks(model, sae):
    before = logits(model)
    effects(model, sae, IDS, [sw.Add(5, 3.0)])
    assert torch.equal(logits(model), before)


def test_many_arms_are_read_in_one_pass_and_alone_give_the_same(model, sae):
    arms = [BASE, sw.Arm("up", (sw.Add(5, 1.0),)), sw.Arm("down", (sw.Add(9, -1.0),))]
    together = predictions(model, sae, IDS, arms)
    for arm, found in zip(arms, together, strict=True):
        alone = predictions(model, sae, IDS, [arm])[0]
        torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-5)


def test_the_budget_is_met_and_a_little_more_would_break_it(model, sae):
    edits = [sw.Add(5, 1.0)]
    base, far = predictions(model, sae, IDS, [BASE, sw.Arm("far", (scaled(edits[0], 2.0),))])
    budget = float(divergence(base, far).mean())
    factor = within_budget(model, sae, IDS, edits, kl=budget, most=10.0)
    assert factor == pytest.approx(2.0, abs=0.01)
    assert within_budget(model, sae, IDS, edits, kl=1e9, most=3.0) == 3.0


def test_edits_that_cost_more_than_the_budget_at_any_factor_are_refused(model, sae):
    edits = [sw.Replace(5, 1.0)]
    with pytest.raises(ValueError, match="even at factor 0 these edits cost more than 1e-06 nats"):
        within_budget(model, sae, IDS, edits, kl=1e-6)


def test_scaling_keeps_what_kind_of_edit_it_is():
    assert scaled(sw.Add(1, 2.0), 0.5) == sw.Add(1, 1.0)
    assert scaled(sw.Scale(1, 3.0), 0.5) == sw.Scale(1, 2.0)
    assert scaled(sw.Rotate(1, 30.0), 2.0) == sw.Rotate(1, 60.0)
    with pytest.raises(ValueError, match=r"Ablate\(1\) has no strength to scale"):
        scaled(sw.Ablate(1), 2.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kl": 0.0}, "nats above 0; got 0"), ({"kl": 1.0, "most": -1.0}, "above 0; got -1")],
)
def test_a_budget_that_makes_no_sense_is_refused(model, sae, options, message):
    with pytest.raises(ValueError, match=message):
        within_budget(model, sae, IDS, [sw.Add(5, 1.0)], **options)


def test_an_empty_text_has_no_effects(model, sae):
    with pytest.raises(ValueError, match="at least one token"):
        effects(model, sae, [], [sw.Add(5, 1.0)])


def test_a_text_over_the_context_is_refused(model, sae):
    with pytest.raises(ValueError, match="the text has 49 tokens; this model reads at most 48"):
        effects(model, sae, [0] + [30] * 48, [sw.Add(5, 1.0)])


def test_effects_that_are_no_numbers_are_an_error_that_says_where(model, sae):
    edits = [sw.Add(5, 3e38, unit="raw", where=sw.Span(start)) for start in (2, 3)]
    with pytest.raises(FloatingPointError, match="'steered' has no next token at position 4"):
        effects(model, sae, IDS, edits)


def test_how_likely_arms_find_each_other_s_texts_is_what_plain_torch_finds(any_model, sae):
    arms = [BASE, sw.Arm("push", (sw.Add(5, 3.0, unit="raw", where="generated"),))]
    run = sw.generate(any_model, sae, IDS, arms, max_new_tokens=5)
    found = likelihoods(any_model, sae, run)
    for row in (0, 1):
        text = torch.tensor([[*IDS, *run.tokens[row]]])
        for column, arm in enumerate(arms):
            with torch.no_grad(), sw.steering(any_model, sae, list(arm.edits)):
                any_model(torch.tensor([IDS]))
                under = any_model(text)[0, len(IDS) - 1 : -1].float().log_softmax(-1)
            expected = under.gather(-1, text[0, len(IDS) :, None]).mean()
            torch.testing.assert_close(found[row, column], expected, atol=1e-4, rtol=1e-4)
        own = torch.tensor(run.logprob[row]).mean()
        torch.testing.assert_close(found[row, row], own, atol=1e-4, rtol=1e-4)


def test_side_effects_are_the_features_that_change_though_nobody_edited_them(any_model):
    later = tiny.make_sae("blocks.1.hook_resid_post", name="later")
    early = tiny.make_sae("blocks.0.hook_resid_post", name="early")
    edits = [sw.Add(5, 3.0, unit="raw", sae="early")]
    both = {"early": early, "later": later}
    found = side_effects(any_model, both, IDS, edits, reader=later, n=4)
    plain = later.encode(activations(any_model, torch.tensor([IDS]), later.hook)[0])[1:].mean(0)
    with sw.steering(any_model, both, edits):
        moved = later.encode(activations(any_model, torch.tensor([IDS]), later.hook)[0])[1:].mean(0)
    order = (moved - plain).abs().argsort(descending=True)[:4]
    assert found.feature.tolist() == order.tolist()
    torch.testing.assert_close(found.before, plain[order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(found.after, moved[order], atol=1e-4, rtol=1e-4)
    # At its own hook an edit moves its axis alone: the feature that is the axis backwards.
    here = side_effects(any_model, both, IDS, edits, n=4)
    assert set(here.feature.tolist()) <= {21}
    # Another SAE's feature of the same number is nobody's edit.
    same = [sw.Add(3, 0.5, unit="raw", sae="early"), sw.Add(21, 0.5, unit="raw", sae="later")]
    seen = side_effects(any_model, both, IDS, same, n=4)
    assert seen.sae == "early"
    assert set(seen.feature.tolist()) == {19}


def test_the_output_score_is_high_where_the_direction_s_tokens_come_true(model, sae):
    found = output_score(model, sae, [5, 20], IDS)
    value = float(sae.encode(activations(model, torch.tensor([IDS]), sae.hook)[0, -1]).max())
    promoted = logit_lens(model, sae, [5, 20], n=20)
    for score, feature, lens in zip(found, (5, 20), promoted, strict=True):
        edit = sw.Add(feature, 10 * value, unit="raw", where="last")
        chance = logits(model, sae, [edit])[-1].softmax(-1)
        tokens = [token for token, _ in lens.likely]
        best = float(chance[tokens].max())
        rank = int((chance > best).sum())
        assert float(score) == pytest.approx((1 - rank / len(chance)) * best, abs=1e-5)


def test_the_input_score_is_the_share_of_texts_whose_strongest_token_is_promoted(any_model, sae):
    """By hand: from the activations of each text, and from the lens, which shows twenty tokens."""
    texts = [[0, 30, 41, 52, 33], [0, 61, 30, 44], [0, 52, 52, 7, 9, 11], [0, 200, 0], [0, 90, 14]]
    sae.b_enc[31] = -1e6  # never fires
    spots = {feature: [] for feature in range(32)}
    for ids in texts:
        values = sae.encode(activations(any_model, torch.tensor([ids]), sae.hook)[0])
        values[[place for place, token in enumerate(ids) if token == 0]] = 0
        for feature in range(32):
            if values[:, feature].max() > 0:
                spots[feature].append(ids[int(values[:, feature].argmax())])
    several = [feature for feature in range(32) if len(set(spots[feature])) > 2]
    features = [*several[:3], 31]
    for feature in features[:3]:  # each is made to promote what it fires on in one of the texts
        sae.W_dec[feature] = any_model.unembed.W_U[:, spots[feature][0]]
    found = input_score(any_model, sae, features, texts)
    lenses = logit_lens(any_model, sae, features, n=20)
    for score, feature, lens in zip(found[:3], features[:3], lenses[:3], strict=True):
        likely = {token for token, _ in lens.likely}
        hits = [token in likely for token in spots[feature]]
        assert 0 < sum(hits)
        assert float(score) == pytest.approx(sum(hits) / len(hits))
    assert found[3].isnan()


def test_only_the_hundred_texts_where_a_feature_fires_most_count_in_its_input_score(model, sae):
    sae.b_enc[5] = 50.0  # it fires everywhere
    texts = [[0, token] for token in range(20, 127)]
    x = activations(model, torch.tensor(texts), sae.hook)[:, 1]
    strongest = [20 + int(i) for i in sae.encode(x)[:, 5].argsort(descending=True)[:100]]
    lens = {token for token, _ in logit_lens(model, sae, [5], n=20)[0].likely}
    hits = [token in lens for token in strongest]
    assert 0 < sum(hits)
    assert float(input_score(model, sae, [5], texts)[0]) == pytest.approx(sum(hits) / 100)
    assert input_score(model, sae, [5], []).isnan().all()
    with pytest.raises(IndexError, match="no feature 32"):
        input_score(model, sae, [32], texts)
    with pytest.raises(ValueError, match="at least one token"):
        input_score(model, sae, [5], [[]])
