"""What the widgets are told beside the texts: the strip, what else moved, the receipt, all that
they were made with."""

import json
import platform
from dataclasses import replace
from importlib.metadata import version

import pytest
import tiny
import torch

import sae_widgets as sw
from sae_widgets.model import identity
from sae_widgets.sae import JumpReLU, TopK
from sae_widgets.steering import Arm, generate
from sae_widgets.steering.effects import effects, predictions, side_effects
from sae_widgets.steering.prompts import Prompts
from sae_widgets.steering.sweep import sweep
from sae_widgets.tokens import shown
from sae_widgets.wire import (
    PACKAGES,
    told_about,
    told_overlaps,
    told_proof,
    told_strip,
    told_suggestion,
    told_sweep,
    unscaled,
)

PROMPT = [0, 30, 41, 52]
EDITS = (sw.Add(5, 6.0, unit="raw", where="generated"), sw.Add(2, 1.0, unit="raw"))


@pytest.fixture
def run(model, sae):
    arms = [Arm("base"), Arm("steered", EDITS)]
    return generate(model, sae, PROMPT, arms, max_new_tokens=6, temperature=1.0, seed=2)


def about(sae, feature):
    return {"sae": sae.name, "feature": feature, "label": f"the {feature}th"}


def test_in_the_strip_each_token_stands_with_the_kl_of_what_was_predicted_there(model, sae, run):
    strip = told_strip(model, {"signed": sae}, run, EDITS, Prompts())
    ids = [*run.ids, *run.tokens[0]]
    found = effects(model, sae, ids, EDITS, prompt=4, n=3)
    assert strip["kl"][0] == 0  # nothing predicts the first token
    assert strip["kl"][1:] == pytest.approx(found.kl[:-1].tolist(), abs=1e-4)
    assert strip["kl"][1] == 0  # an edit of a special token is none
    assert "".join(strip["tokens"]) == run.prompt + run.texts[0]
    assert strip["given"] == 4
    place = 1 + int(found.kl[:-1].argmax())
    assert [len(strip["more"][place]), len(strip["less"][place])] == [3, 3]
    token, by = strip["more"][place][0]
    assert token == shown(model.tokenizer, int(found.gained[place - 1, 0]))
    assert by == pytest.approx(float(found.gained_by[place - 1, 0]), abs=1e-3)
    assert strip["less"][place][0][1] < 0
    assert strip["more"][1] == strip["less"][1] == []  # where nothing changes, nothing is named


def test_the_proof_is_of_the_steered_text(model, sae, run):
    later = tiny.make_sae("blocks.1.hook_resid_post", name="later")
    saes = {"signed": sae, "later": later}
    proof = told_proof(model, saes, run, later, about)
    ids = [*run.ids, *run.tokens[1]]
    kl = effects(model, saes, ids, EDITS, prompt=4).kl
    # The first written token is predicted after the last of the prompt.
    assert proof["mean"] == pytest.approx(float(kl[3:-1].mean()), abs=1e-4)
    side = side_effects(model, saes, ids, EDITS, reader=later, prompt=4, n=6)
    assert [one["feature"] for one in proof["also"]] == side.feature.tolist()
    assert proof["also"][0]["label"] == f"the {proof['also'][0]['feature']}th"
    assert proof["also"][0]["after"] == pytest.approx(float(side.after[0]), abs=1e-4)
    assert proof["receipt"].count("Add(") == 2


def test_at_each_written_token_the_likeliest_stand_with_what_the_edits_did_to_them(model, sae, run):
    proof = told_proof(model, {"signed": sae}, run, sae, about)
    ids, arms = [*run.ids, *run.tokens[1]], [Arm("base"), Arm("steered", EDITS)]
    base, steered = predictions(model, sae, ids, arms, prompt=4).exp()
    assert len(proof["next"]) == len(run.tokens[1])
    for place, row in enumerate(proof["next"], start=3):  # it is predicted one before
        best = steered[place].topk(3).indices.tolist()
        assert [token for token, _, _ in row] == [shown(model.tokenizer, t) for t in best]
        assert [p for _, p, _ in row] == pytest.approx(steered[place, best].tolist(), abs=1e-3)
        by = (steered - base)[place, best].tolist()
        assert [change for _, _, change in row] == pytest.approx(by, abs=1e-3)


def no_check():
    pass


def test_the_suggested_strengths_cost_a_tenth_of_a_nat_and_a_whole_one(model, sae, run):
    edits = [sw.Add(5, -0.3, unit="raw"), sw.Scale(2, 3.0, on=False), sw.Set(9, 0.6, unit="raw")]
    direction = unscaled(edits)
    assert [edit.strength for edit in direction] == [-1.0, 2.0]
    (low, high), other = told_suggestion(model, sae, run, direction, no_check)
    assert high < 0  # the push is downwards: the weaker end is the higher
    assert other == pytest.approx([-2 * high, -2 * low], abs=1e-3)  # both are scaled together
    text = [*run.ids, *run.tokens[0]]
    for strength, kl in [(high, 0.1), (low, 1.0)]:
        pushed = [sw.Add(5, strength, unit="raw"), sw.Set(9, -2 * strength, unit="raw")]
        assert effects(model, sae, text, pushed, prompt=4).mean == pytest.approx(kl, rel=0.05)


@pytest.mark.parametrize(
    "edits",
    [[sw.Ablate(5)], [sw.Add(5, 0.0)], [sw.Scale(5, 1.0)], [sw.Add(5, 1.0, on=False)], []],
)
def test_nothing_is_suggested_for_what_has_no_strength(edits):
    assert unscaled(edits) is None


def test_what_has_no_strength_stays_as_it_is_while_the_others_are_scaled(model, sae, run):
    edits = [sw.Ablate(3), sw.Add(5, 2.0, unit="raw")]
    none, (low, high) = told_suggestion(model, sae, run, unscaled(edits), no_check)
    assert none is None
    text = [*run.ids, *run.tokens[0]]
    for strength, kl in [(low, 0.1), (high, 1.0)]:
        pushed = [sw.Ablate(3), sw.Add(5, strength, unit="raw")]
        assert effects(model, sae, text, pushed, prompt=4).mean == pytest.approx(kl, rel=0.05)


def test_nothing_is_suggested_where_no_strength_costs_too_much(model, sae, run):
    ceiling = unscaled([sw.Ceiling(5, 2.0, unit="raw")])  # the higher, the less it does
    assert told_suggestion(model, sae, run, ceiling, no_check) == []


def test_the_strip_is_of_the_text_without_edits_whatever_the_run_was_steered_with(model, sae, run):
    other = [sw.Add(9, 3.0, unit="raw")]
    strip = told_strip(model, {"signed": sae}, run, other, Prompts())
    kl = effects(model, sae, [*run.ids, *run.tokens[0]], other).kl
    assert strip["kl"][1:] == pytest.approx(kl[:-1].tolist(), abs=1e-4)
    assert torch.tensor(strip["kl"]).max() > 0


def test_a_sweep_is_told_arm_by_arm_with_what_each_strength_buys_and_costs(model, sae):
    swept = sweep(model, sae, PROMPT, EDITS, [0.5, 2.0], max_new_tokens=4, control="flipped")
    told = told_sweep(model, swept)
    arms = told["arms"]
    assert [arm["factor"] for arm in arms] == [0, 0.5, 2.0, 0.5, 2.0]
    assert [arm["control"] for arm in arms] == ["", "", "", "flipped", "flipped"]
    assert ["".join(arm["tokens"]) for arm in arms] == list(swept.run.texts)
    for arm, point in zip(arms[1:], (*swept.steered, *swept.control), strict=True):
        assert arm["kl"] == pytest.approx(point.kl, abs=1e-4)
        assert arm["concept"] == pytest.approx(point.concept, abs=1e-4)
    assert arms[0]["kl"] == 0
    assert told["unit"] == "peak"
    vector = [sw.Add([1.0] * 16, 1.0, unit="raw", hook=sae.hook)]
    other = sweep(model, sae, PROMPT, vector, [1.0], max_new_tokens=2, control=None)
    assert told_sweep(model, other)["unit"] == "raw"
    assert told["safe"] == pytest.approx(swept.safe, abs=1e-4)
    nothing = replace(swept, base=replace(swept.base, concept=float("nan")))
    assert told_sweep(model, nothing)["arms"][0]["concept"] is None


def test_pushes_overlap_where_their_directions_are_alike_or_opposed(sae):
    # Feature 16 + f is the axis of f backwards.
    edits = [
        sw.Add(5, 1.0),
        sw.Add(7, 1.0),
        sw.Set(21, 1.0),  # no push
        sw.Add(5, -2.0, on=False),
        sw.Add(21, -1.0),
        sw.Add([*[0.0] * 5, -3.0, *[0.0] * 10], 1.0, unit="raw", hook=sae.hook),
    ]
    saes = {"signed": sae}
    assert told_overlaps(saes, edits) == [
        ["5", "21", 1.0],
        ["5", "row 6", -1.0],
        ["21", "row 6", -1.0],
    ]
    elsewhere = sw.Add([1.0] * 16, 1.0, unit="raw", hook="blocks.1.hook_resid_post")
    assert told_overlaps(saes, [sw.Add(5, 1.0), elsewhere]) == []
    apart = [sw.Add(5, 1.0, where="prompt"), sw.Add(21, 1.0, where="generated")]
    assert told_overlaps(saes, apart) == []
    wrong = sw.Add([1.0] * 4, 1.0, unit="raw", hook=sae.hook)  # a run says what is wrong with it
    assert told_overlaps(saes, [sw.Add(5, 1.0), wrong]) == []


def test_a_widget_is_told_the_model_the_saes_and_the_versions_that_it_was_made_with(model, sae):
    sae.provenance = {"seed": 3, "data": "some text"}
    other = tiny.make_sae("blocks.0.hook_resid_post", name="lower")
    told = told_about(model, {"signed": sae, "lower": other})
    known = identity(model)
    assert told["model"] == {name: known[name] for name in ("name", "weights", "dtype")}
    assert told["model"]["dtype"] == "float32"
    lower = {"hook": other.hook, "width": "32", "activation": "Relu()"}
    assert {**told["saes"]["lower"], "weights": ""} == {**lower, "weights": ""}
    assert told["saes"]["signed"]["provenance"] == {"seed": 3, "data": "some text"}
    assert told["versions"]["python"] == platform.python_version()
    assert told["versions"]["torch"] == version("torch")
    assert set(told["versions"]) == {"python", *PACKAGES}
    assert told_about(model, {"signed": sae, "lower": other}) == told  # no clock in it
    assert json.loads(json.dumps(told)) == told


def test_saes_that_differ_in_what_fires_only_are_told_apart(model, sae):
    def told(activation):
        sae.activation = activation
        found = told_about(model, sae)["saes"]["signed"]
        return found["weights"], found["activation"]

    low, high = told(JumpReLU(torch.zeros(32))), told(JumpReLU(torch.linspace(0.1, 2, 32)))
    assert low[0] != high[0]
    assert (told(TopK(3))[1], told(TopK(4))[1]) == ("TopK(k=3)", "TopK(k=4)")
