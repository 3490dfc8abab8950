"""A session: what its widgets are told, what they share, and what it refuses."""

import copy
import gc
import json
import pickle
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
import traitlets
from waiting import until

import sae_widgets as sw
from sae_widgets.features import capture
from sae_widgets.model import activations
from sae_widgets.session import SAMPLE
from sae_widgets.share import twin
from sae_widgets.steering.presets import Presets
from sae_widgets.tokens import encode, encode_chat
from sae_widgets.widgets import Cancelled
from sae_widgets.wire import told_about, told_strip

TEXT = "the sea and the ship"
FADING = {"strength": 0.7, "where": "generated", "schedule": {"kind": "decay", "half": 6}}
LABELS = {
    "signed": {
        "5": {"label": "the fifth", "concept": "five", **FADING},
        9: "the ninth",
    }
}


def fitting(model, hook=tiny.HOOK, name="signed"):
    """An SAE whose statistics are those of this model on the session's sample."""
    sae = tiny.make_sae(hook, name=name)
    found = capture(model, sae, encode(model.tokenizer, SAMPLE, limit=tiny.CONTEXT).ids)
    x = activations(model, found.ids[None], hook)[0, 1:]
    sae.stats = replace(
        sae.stats,
        density=torch.full((32,), len(found.value) / (len(found.ids) - 1) / 32),
        norm=float(x.norm(dim=-1).mean()),
    )
    return sae


@pytest.fixture
def session(model):
    other = fitting(model, "blocks.0.hook_resid_post", "lower")
    other.placebo = "for the test"
    return sw.Session(model, fitting(model), labels=LABELS, saes=[other])


def no_check():
    pass


def asked(*, prompt=TEXT, edits=(), length=6, **options):
    """A request as a panel makes it."""
    request = {"prompt": prompt, "length": length, "temperature": 0.0, "seed": 0, "control": ""}
    request |= options
    return {**request, "edits": [edit.to_json() for edit in edits]}


def run(session, *, check=no_check, told=None, **options):
    return session._run(asked(**options), check, [].append if told is None else told.append)


# Reading


def test_features_of_a_text_are_those_of_its_tokens(session, model):
    found = session.features(TEXT)
    ids = encode(model.tokenizer, TEXT, limit=99).ids
    assert found.ids.tolist() == ids
    lower = session.features(TEXT, "lower")
    assert torch.equal(lower.value, capture(model, session.saes["lower"], ids).value)


def test_the_heatmap_is_told_every_cell_as_it_is(session):
    view = session._read(TEXT, "signed", no_check)
    features = session.features(TEXT)
    dense = np.zeros((len(view.features), len(view.tokens)))
    dense[view.row, view.column] = view.value
    assert [row.feature for row in view.features] == features.strongest(200)
    for place, row in enumerate(view.features):
        column = features.column(row.feature).numpy()
        np.testing.assert_array_equal(dense[place], column)
        fires = column[column > 0]
        assert row.max == pytest.approx(fires.max(), rel=1e-4)
        assert row.mean == pytest.approx(fires.mean(), rel=1e-4)
        assert row.share == pytest.approx(len(fires) / (len(column) - 1), rel=1e-4)
    assert view.tokens[0] == "<|endoftext|>"
    assert (list(view.special), list(view.part)) == ([0], [])
    assert (view.width, view.hook, view.active) == (32, tiny.HOOK, len(view.features))
    assert view.explained[1:] == [1.0] * (len(view.tokens) - 1)
    assert view.note == ""


def test_rows_carry_labels_and_statistics(session):
    rows = {row.feature: row for row in session._read(SAMPLE, "signed", no_check).features}
    assert (rows[9].label, rows[5].label) == ("the ninth", "the fifth")
    assert rows[9].peak == pytest.approx(1.9)
    assert all(row.label == "" for feature, row in rows.items() if feature not in (5, 9))


def test_only_the_strongest_are_sent_but_the_best_of_each_measure_are_among_them(
    session, monkeypatch
):
    monkeypatch.setattr("sae_widgets.session.reading.ROWS", 10)
    view = session._read(TEXT, "signed", no_check)
    features = session.features(TEXT)
    sent = [row.feature for row in view.features]
    assert len(sent) == 10 < view.active
    assert {*features.strongest(2, "mean"), *features.strongest(2, "share")} <= set(sent)
    assert sent == [f for f in features.strongest(32) if f in sent]
    assert max(view.row) == 9


@pytest.mark.parametrize("text", ["", " \n ", "a", "😀", "x" * 47])
def test_any_text_that_fits_is_shown_whole(session, text):
    view = session._read(text, "signed", no_check)
    assert view.note == ""
    assert len(view.explained) == len(view.tokens) >= 1


def test_a_text_over_the_context_is_cut_and_this_is_said(session):
    view = session._read("x" * 3000, "signed", no_check)
    assert len(view.tokens) == 48
    assert view.note == "This model reads 48 tokens at once: the first 48 of 3001 are shown."


def test_features_of_a_text_over_the_context_are_refused(session):
    with pytest.raises(ValueError, match="this model reads at most"):
        session.features("the sea " * 400)


def test_a_tokenizer_without_bos_reads_even_nothing(tokenizer_without_bos):
    session = sw.Session(tiny.gpt2(tokenizer_without_bos), tiny.make_sae(), sample=None)
    assert session._read("", "signed", no_check).tokens == []
    assert list(session._read("a", "signed", no_check).special) == []
    with pytest.raises(ValueError, match="the prompt is empty"):
        run(session, prompt="")


def test_the_card_has_what_a_feature_makes_likely(session):
    other, card = session._describe([7, 5], "signed")
    assert other["feature"] == 7
    assert (card["feature"], card["label"], card["sae"]) == (5, "the fifth", "signed")
    assert card["histogram"] == list(range(160, 192))
    assert len(card["likely"]) == len(card["unlikely"]) == 8
    assert card["likely"][0][1] > card["likely"][7][1] > 0 > card["unlikely"][0][1]
    assert all(isinstance(shown, str) and shown for shown, _ in card["likely"])
    with pytest.raises(IndexError, match="no feature 32"):
        session._describe([32], "signed")


# Steering


def test_a_run_is_told_in_tokens_that_make_up_its_text(session):
    edits = [sw.Add(5, 40.0, unit="raw")]
    told = []
    found = run(session, edits=edits, told=told)
    direct = session.generate(TEXT, edits, max_new_tokens=6)
    for row, arm in enumerate(found["arms"]):
        assert "".join(arm["tokens"]) == direct.texts[row]
        assert arm["nll"] == pytest.approx(direct.nll(row), abs=1e-3)
    assert [arm["name"] for arm in found["arms"]] == ["base", "steered"]
    assert "".join(found["prompt"]) == TEXT
    assert (found["fork"], found["ended"]) == (direct.fork, direct.stopped)
    assert found["calls"] == {"prefill": 1, "steps": len(told) - 1}
    assert found["positions"] == [len(found["prompt"]) - 1, len(told) - 1]
    assert found["ratio"] > 1
    assert "expect broken text" in found["note"]
    json.dumps(found)


def test_a_control_is_a_third_text_and_the_proof_is_still_the_edits_own(session):
    edits = [sw.Add(5, 2.0, where="generated")]
    alone, beside = run(session, edits=edits), run(session, edits=edits, control="random")
    assert [arm["name"] for arm in beside["arms"]] == ["base", "steered", "steered, random"]
    assert [arm["control"] for arm in beside["arms"]] == ["", "", "random"]
    assert beside["arms"][:2] == alone["arms"]
    assert (beside["ratio"], beside["positions"]) == (alone["ratio"], alone["positions"])


def measured(session, request, written):
    """All that a panel is told, and how it was told it bit by bit."""
    bits = list(session._measured(request, no_check, written))
    return {name: value for bit in bits for name, value in bit.items()}, bits


def test_what_edits_do_is_measured_on_the_newest_texts_of_the_same_settings(session):
    first = asked(edits=[sw.Add(5, 2.0)])
    assert measured(session, first, False)[0] == {"overlaps": []}  # there is no text yet
    session._run(first, no_check, lambda _: None)
    found, bits = measured(session, first, True)
    assert found.keys() >= {"kl", "tokens", "mean", "also", "receipt", "suggested"}
    assert "suggested" in bits[-1]  # it takes longest
    assert "receipt" not in bits[-1]
    moved = asked(edits=[sw.Add(5, 3.0)])
    early, _ = measured(session, moved, False)
    assert "kl" in early
    assert early["suggested"] == found["suggested"]  # wherever the slider stands
    assert "receipt" not in early
    assert "receipt" not in measured(session, moved, True)[0]  # the text is not of these edits
    assert "suggested" not in measured(session, asked(edits=[sw.Add(6, 2.0)]), False)[0]
    assert measured(session, asked(edits=[sw.Add(5, 2.0, on=False)]), True) == ({}, [])
    assert "kl" not in measured(session, asked(edits=[sw.Add(5, 2.0)], seed=9), False)[0]


def test_what_was_measured_while_a_text_was_written_is_not_measured_again(session, monkeypatch):
    made = []

    def counted(*given):
        made.append(given)
        return told_strip(*given)

    monkeypatch.setattr("sae_widgets.session.measuring.told_strip", counted)
    request = asked(edits=[sw.Add(5, 2.0)])
    for _ in range(2):
        session._run(request, no_check, lambda _: None)
        strips = [measured(session, request, written)[0]["kl"] for written in (False, True)]
        assert strips[0] == strips[1]
    assert len(made) == 1
    measured(session, asked(edits=[sw.Add(5, 3.0)]), False)
    assert len(made) == 2


def test_a_panel_sweeps_with_the_control_it_shows_or_a_random_one(session):
    edits = [sw.Add(5, 2.0, sae="signed")]
    found = session._swept(asked(edits=edits, length=3), no_check)
    assert {arm["control"] for arm in found["arms"]} == {"", "random"}
    found = session._swept(asked(edits=edits, length=3, control="flipped"), no_check)
    assert {arm["control"] for arm in found["arms"]} == {"", "flipped"}

    def stop():
        raise Cancelled

    with pytest.raises(Cancelled):
        session._swept(asked(edits=edits, length=3), stop)


def test_streamed_tokens_are_those_of_the_result(session):
    told = []
    found = run(session, told=told, temperature=2.0, seed=4, length=20)
    for row, arm in enumerate(found["arms"]):
        streamed = [text for step in told for text in step[row]]
        assert len(streamed) == len(arm["tokens"])
        # Only what never became a character is added at the end.
        assert "".join(arm["tokens"]).startswith("".join(streamed))


def test_a_run_that_is_cancelled_keeps_what_it_wrote(session):
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise Cancelled

    found = run(session, check=check, length=20)
    assert [len(arm["tokens"]) for arm in found["arms"]] == [2, 2]
    assert found["ended"] == "stopped"


def test_a_prompt_over_the_context_says_how_much_fits(session):
    with pytest.raises(ValueError, match="47 tokens of prompt fit, 53 too many"):
        run(session, prompt="x" * 99)


def test_several_arms_are_generated_beside_the_base(session):
    found = session.generate(
        TEXT, {"one": [sw.Add(5, 1.0)], "two": [sw.Add(9, 1.0, sae="lower")]}, max_new_tokens=3
    )
    assert [arm.name for arm in found.arms] == ["base", "one", "two"]
    assert [arm.name for arm in session.generate(TEXT, max_new_tokens=1).arms] == ["base"]


def test_a_chat_is_continued_and_its_marks_are_never_edited():
    session = sw.Session(tiny.gpt2(tiny.chatting()), tiny.make_sae(), sample=None)
    said = {"role": "user", "content": "the sea"}
    push = sw.Add(5, 4.0, unit="raw")
    run = session.generate([said], [push], max_new_tokens=5)
    ids = encode_chat(session.model.tokenizer, [said], limit=99).ids
    assert list(run.ids) == ids
    assert [bool(moved) for moved in run.moved[1][: len(ids)]] == [
        token not in (0, 280, 281) for token in ids
    ]
    assert run.prompt == "user\nthe sea\nassistant\n"
    assert session.features([said]).special.tolist() == [token in (0, 280, 281) for token in ids]
    # A conversation that was had, of which the answer counts as generated.
    late = [sw.Add(5, 4.0, unit="raw", where="generated")]
    had = [said, {"role": "assistant", "content": "a ship"}]
    kl = session.effects(had, late, prompt=[said]).kl
    assert (kl[: len(ids)] == 0).all()
    assert (kl[len(ids) :] > 0).all()


def test_arms_are_compared_with_their_controls_and_end_where_asked(session):
    found = session.generate(
        TEXT,
        {"one": [sw.Add(5, 1.0)]},
        max_new_tokens=4,
        compare=("random", "flipped"),
        until=~sw.Fires(5, 1e9),
    )
    assert [arm.name for arm in found.arms] == ["base", "one", "one, random", "one, flipped"]
    assert found.met == (True,) * 4  # the first token that is read ends each arm
    assert {len(tokens) for tokens in found.tokens} == {1}


def test_a_run_is_proved_measured_and_swept_with_the_session_s_saes(session, tmp_path):
    session.edits = [sw.Add(5, 1.0)]
    run = session.generate(TEXT, session.edits, max_new_tokens=4)
    (entry,) = session.receipt(run).entries
    assert (entry.arm, entry.edit.sae) == ("steered", "signed")
    assert session.likelihoods(run).shape == (2, 2)
    swept = session.sweep(TEXT, factors=[0.5, 1.0], max_new_tokens=4, control="flipped")
    assert [arm.control for arm in swept.run.arms] == [None, None, None, "flipped", "flipped"]
    assert session.side_effects(TEXT, reader="signed").feature.tolist() == [21]
    assert session.side_effects(TEXT, [sw.Add(3, 2.0, sae="lower")]).sae == "signed"
    assert session.output_scores([5, 9]).shape == (2,)
    assert session.input_scores([5, 9, 3], [TEXT, SAMPLE[:20]]).shape == (3,)
    assert session.export(tmp_path / "edits.py").read_text().count("Add(5, 1.0, sae='signed')") == 1


def test_features_to_choose_from_have_names_and_strengths(session):
    session.sae.stats.peak[7] = 0  # never fired
    widget = session.steer()

    def listed():
        return {(entry["sae"], entry["feature"]): entry for entry in widget.features}

    assert listed().keys() == {("signed", feature) for feature in range(32) if feature != 7}
    push = {"op": "add", "feature": 5, "unit": "peak", "sae": "signed", "on": True, **FADING}
    assert listed()["signed", 5]["push"] == push
    assert listed()["signed", 9]["push"] is None
    # ... and whatever is edited
    widget.edits = [sw.Add(30, 1.0, sae="lower").to_json()]
    assert listed()["lower", 30]["peak"] == pytest.approx(4.0)
    assert len(listed()) == 32
    # ... and those of the SAE that is chosen
    session.chosen = "lower"
    assert listed().keys() == {("lower", feature) for feature in range(32)}


def test_of_an_sae_too_large_to_list_only_named_features_are(session, monkeypatch):
    monkeypatch.setattr("sae_widgets.session.catalogue.LISTED", 31)
    assert [entry["feature"] for entry in session.steer().features] == [5, 9]


def test_the_effects_of_a_session_s_edits_are_measured_on_a_text(session):
    session.edits = [sw.Add(5, 2.0)]
    found = session.effects(TEXT)
    assert found.mean > 0
    assert found.mean == session.effects(TEXT, [sw.Add(5, 2.0, sae="signed")]).mean
    assert session.effects(TEXT, []).mean == 0
    start = TEXT.split()[0]
    late = [sw.Add(5, 2.0, where="generated")]
    kl = session.effects(TEXT, late, prompt=start).kl
    assert (kl > 0).any()
    assert torch.equal(kl[:2], torch.zeros(2))
    everywhere = [sw.Add(5, 2.0)]
    assert repr(session.side_effects(TEXT, late, prompt=start)) != repr(
        session.side_effects(TEXT, everywhere)
    )
    with pytest.raises(ValueError, match="do not begin with those of the prompt, 'Else'"):
        session.effects(TEXT, late, prompt="Else")
    assert repr(found).startswith("Effects(")


# What is shared


def test_widgets_share_selection_choice_and_edits(session):
    heatmap, first, second = session.heatmap(TEXT), session.steer(), session.steer()
    heatmap.selected = 9
    assert session.selected == first.selected == second.selected == 9
    first.edits = [sw.Add(9, 0.5).to_json()]
    assert session.edits == (sw.Add(9, 0.5, sae="signed"),)
    assert second.edits == first.edits
    session.edits = [sw.Ablate(3), {"op": "scale", "feature": 4, "strength": 2}]
    assert (
        second.edits
        == first.edits
        == [
            sw.Ablate(3, sae="signed").to_json(),
            sw.Scale(4, 2, sae="signed").to_json(),
        ]
    )
    session.chosen = "lower"
    assert heatmap.sae == first.sae == "lower"
    assert session.sae.name == "lower"


def test_a_widget_made_later_starts_with_what_the_others_have(session):
    session.edits = [sw.Add(5, 0.5)]
    session.selected = 5
    late = session.steer()
    assert (late.selected, late.edits) == (5, [sw.Add(5, 0.5, sae="signed").to_json()])
    replaced = session.steer(edits=[sw.Ablate(1)])
    assert late.edits == replaced.edits == [sw.Ablate(1, sae="signed").to_json()]


def test_steering_a_feature_from_the_heatmap_adds_one_edit(session):
    heatmap = session.heatmap(TEXT)
    heatmap.steer = {"id": 1, "feature": 5, "sae": "signed"}
    heatmap.steer = {"id": 2, "feature": 5, "sae": "signed"}
    heatmap.steer = {"id": 3, "feature": 9, "sae": "signed"}
    assert session.edits == (
        # as its label recommends
        sw.Add(5, 0.7, where="generated", schedule=sw.Decay(6), sae="signed"),
        sw.Add(9, 0.5, sae="signed"),
    )
    assert session.selected == heatmap.selected == 9
    heatmap.steer = {"id": 4, "feature": 99, "sae": "signed"}
    assert "no feature 99" in heatmap.status["text"]


def test_painting_a_row_of_the_heatmap_makes_one_edit_and_all_panels_follow(session):
    heatmap, other, panel = session.heatmap(TEXT), session.heatmap(), session.steer()
    tokens = len(heatmap.view["tokens"])

    def paint(id, feature, *values):
        values = [*values, *[0] * (tokens - len(values))]
        row = {"sae": "signed", "feature": feature, "values": values}
        heatmap.set_state({"paint": {"id": id, "rows": [row]}})

    session.edits = [sw.Add(9, 0.3), sw.Add(5, 0.3)]
    paint(1, 9, 0, 0.5, 1.5)
    painted = sw.Add(9, 1.5, where=sw.Span(1, 3), schedule=sw.Values([0.5 / 1.5, 1]), sae="signed")
    beside = (sw.Add(9, 0.3, sae="signed"), sw.Add(5, 0.3, sae="signed"))
    assert session.edits == (*beside, painted)
    assert panel.edits == [edit.to_json() for edit in session.edits]
    row = {"sae": "signed", "feature": 9, "op": "add", "unit": "peak", "on": True}
    assert heatmap.painted == other.painted == [{**row, "values": [0, 0.5, 1.5]}]
    # ... which is changed in place, whatever comes after it,
    session.edits = [painted, *beside]
    paint(2, 9, 0, 0.25)
    assert session.edits[1:] == beside
    assert heatmap.painted == [{**row, "values": [0, 0.25]}]
    # moves with its slider, and is gone with its row
    panel.edits = [{**panel.edits[0], "strength": -2.0, "on": False}]
    assert heatmap.painted == [{**row, "on": False, "values": [0, -2.0]}]
    panel.edits = []
    assert heatmap.painted == []
    paint(3, 9, 0, 0.25)
    paint(4, 9)
    assert session.edits == ()
    assert (heatmap.taken, heatmap.status["state"]) == (4, "idle")


def test_a_row_that_cannot_be_painted_is_said_and_those_before_it_are_kept(session):
    heatmap = session.heatmap(TEXT)
    rows = [
        {"sae": "lower", "feature": 3, "values": [0, 1]},
        {"sae": "lower", "feature": 99, "values": [0, 1]},
    ]
    heatmap.set_state({"paint": {"id": 7, "rows": rows}})
    assert "no feature 99" in heatmap.status["text"]
    assert [(edit.feature, edit.sae) for edit in session.edits] == [(3, "lower")]
    assert heatmap.taken == 7
    assert session.chosen == "signed"


def test_what_is_painted_counts_in_peaks_where_there_is_one(session):
    session.sae.stats.peak[4] = 0
    session.saes["lower"].stats = None
    session.paint(3, [0, 0.5])
    session.paint(4, [0, 0.5])
    session.paint(4, [0, 0, 1.0], "lower")
    assert [edit.unit for edit in session.edits] == ["peak", "norm", "raw"]


def test_what_cannot_be_painted_in_python_raises(session):
    with pytest.raises(IndexError, match="no feature 99"):
        session.paint(99, [0, 1])
    with pytest.raises(ValueError, match="no SAE 'upper'"):
        session.paint(5, [0, 1], "upper")
    with pytest.raises(ValueError, match="finite values"):
        session.paint(5, [0, float("nan")])
    assert session.edits == ()


def test_a_number_is_forgotten_when_another_sae_is_chosen(session):
    widget = session.steer()
    session.selected = 5
    session.chosen = "lower"
    assert session.selected is None
    assert widget.selected is None
    session.selected = 4
    widget.set_state({"pick": {"id": 1, "sae": "signed", "feature": 9}})
    assert (session.chosen, session.selected) == ("signed", 9)
    widget.set_state({"pick": {"id": 2, "sae": "lower", "feature": 9}})
    assert (session.chosen, session.selected, widget.selected) == ("lower", 9, 9)
    widget.set_state({"pick": {"id": 3, "sae": "typo", "feature": 9}})
    assert "no SAE named 'typo'" in widget.status["text"]


def test_a_feature_is_steered_in_the_sae_that_it_was_seen_in(session):
    widget = session.heatmap(TEXT)
    widget.set_state({"steer": {"id": 1, "feature": 3, "sae": "lower"}})
    assert [(edit.feature, edit.sae) for edit in session.edits] == [(3, "lower")]
    assert (session.chosen, session.selected) == ("lower", 3)
    until(lambda: widget.view["sae"] == widget.card.get("sae") == "lower", seconds=10)


def test_a_label_that_recommends_what_cannot_be_done_is_refused(model):
    sae = fitting(model)

    def labelled(**record):
        labels = {"signed": {5: {"label": "the fifth", **record}}}
        return lambda: sw.Session(model, sae, labels=labels)

    known = labelled(strength=0.3)()
    assert known.recommended(5) == sw.Add(5, 0.3, sae="signed")
    with pytest.raises(IndexError, match="no feature 99"):
        known.recommended(99)
    with pytest.raises(ValueError, match="has a 'schedule' but no strength to go with it"):
        labelled(schedule={"kind": "decay", "half": 6})()
    with pytest.raises(ValueError, match="a schedule's kind is one of ramp, decay"):
        labelled(strength=0.5, schedule={"kind": "slow"})()
    with pytest.raises(ValueError, match="where is one of 'all', 'prompt'"):
        labelled(strength=0.5, where="here")()
    sae.stats.peak[5] = 0
    with pytest.raises(ValueError, match="strength for feature 5 of SAE 'signed', × its peak, but"):
        labelled(strength=0.5)()


def test_a_feature_without_a_peak_is_steered_in_norms(session):
    session.sae.stats.peak[4] = 0
    session.steer_feature(4)
    assert session.edits[0].unit == "norm"


def test_what_a_session_does_not_have_is_refused_where_it_is_set(session):
    with pytest.raises(traitlets.TraitError, match="no SAE 'typo'"):
        session.chosen = "typo"
    with pytest.raises(traitlets.TraitError, match="no feature 99"):
        session.selected = 99
    with pytest.raises(IndexError, match="no feature 99"):
        session.edits = [sw.Add(99, 1.0)]
    assert (session.chosen, session.selected, session.edits) == ("signed", None, ())


def test_an_edit_of_a_feature_there_is_none_of_is_said_in_the_panel_and_changes_nothing(session):
    widget = session.steer()
    widget.set_state({"edits": [{"op": "ablate", "feature": 99}]})
    assert widget.status["state"] == "error"
    assert "no feature 99" in widget.status["text"]
    assert session.edits == ()
    assert widget.edits == []


def test_what_a_session_does_not_have_does_not_stay_in_a_widget_either(session):
    heatmap, steering = session.heatmap(), session.steer()
    for widget, trait, value in (
        (heatmap, "selected", 99),
        (steering, "edits", [sw.Ablate(99)]),
        (steering, "edits", [sw.Ablate(5, sae="nobody's")]),
    ):
        before = getattr(widget, trait)
        with pytest.raises(traitlets.TraitError, match=r"no (feature 99|SAE \"nobody's\")"):
            setattr(widget, trait, value)
        assert getattr(widget, trait) == before


def test_a_number_alone_is_a_feature_of_the_chosen_sae(session):
    session.chosen = "lower"
    session.edits = [sw.Ablate(5)]
    assert session.edits == (sw.Ablate(5, sae="lower"),)
    widget = session.steer()
    widget.edits = [sw.Scale(6, 2.0)]
    assert session.edits == (sw.Scale(6, 2.0, sae="lower"),)
    waits = sw.Ablate(5, when=sw.Fires(9) & ~sw.Near([1.0] * 16))
    session.edits = [waits]
    [bound] = session.edits
    hook = session.sae.hook
    assert bound.when == sw.Fires(9, sae="lower") & ~sw.Near([1.0] * 16, hook=hook)
    with pytest.raises(IndexError, match="no feature 99"):
        session.edits = [sw.Ablate(5, when=sw.Fires(99))]
    made = session.generate(TEXT, [sw.Ablate(5)], max_new_tokens=1)
    assert made.arms[1].edits == (sw.Ablate(5, sae="lower"),)


def test_a_closed_widget_parts_from_its_session_and_its_thread_ends(session):
    before = set(threading.enumerate())
    heatmap, steering = session.heatmap(), session.steer(TEXT, length=1)
    heatmap.selected = 5
    mine = set(threading.enumerate()) - before
    assert len(mine) == 3  # one reads, one writes, one measures
    heatmap.close()
    steering.close()
    for thread in mine:
        thread.join(5)
        assert not thread.is_alive()
    session.selected = 6
    session.edits = [sw.Ablate(5)]
    assert (heatmap.selected, steering.edits) == (5, [])


def test_a_feature_outside_the_residual_stream_has_a_card_without_tokens(model):
    hook = "blocks.1.mlp.hook_post"
    sae = tiny.make_sae(hook, d_model=64, name="inside")
    session = sw.Session(model, sae, sample=None)
    (card,) = session._describe([3], "inside")
    assert card["likely"] == []
    assert card["peak"] is not None
    assert "residual stream" in card["note"]


def test_two_widgets_work_on_one_model_at_once(session):
    """Both answer as they do alone, whatever the other one is doing."""
    edits = [sw.Add(5, 4.0, unit="raw")]
    alone = run(session, edits=edits, length=20)["arms"]
    view = session._read(TEXT, "signed", no_check).value
    found = {}
    threads = [
        threading.Thread(target=lambda: found.update(run=run(session, edits=edits, length=20))),
        threading.Thread(
            target=lambda: found.update(
                views=[session._read(TEXT, "signed", no_check).value for _ in range(8)]
            )
        ),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["run"]["arms"] == alone
    assert all(np.array_equal(each, view) for each in found["views"])


def test_every_widget_carries_what_it_was_made_with(session):
    about = told_about(session.model, session.saes)
    for widget in (session.heatmap(TEXT), session.steer()):
        assert widget.about == about
        assert widget.get_state()["about"] == about
    assert len(json.dumps(about)) < 1_000
    session.sae.b_enc += 1  # trained on: what is made from now on says so
    assert session.heatmap().about["saes"]["signed"] != about["saes"]["signed"]


def test_a_session_and_its_widgets_print_without_addresses(session):
    assert repr(session) == f"Session({session.model.cfg.model_name!r}, saes=['signed', 'lower'])"
    assert repr(session.heatmap("the")).startswith("Heatmap(")


# Mistakes


def test_an_sae_of_another_width_is_refused(model):
    with pytest.raises(ValueError, match=r"reads vectors of 12 entries.*have 16"):
        sw.Session(model, tiny.make_sae(d_model=12))


def test_a_hook_that_the_model_lacks_is_refused(model):
    with pytest.raises(
        ValueError, match=r"no hook point.*Nearest names: blocks\.1\.hook_resid_post"
    ):
        sw.Session(model, tiny.make_sae("blocks.1.resid_post"))


def test_a_model_without_a_tokenizer_is_refused(tokenizer):
    model = tiny.native(tokenizer)
    model._tokenizer = None
    with pytest.raises(ValueError, match=r"no tokenizer.*load_model\(model, tokenizer\)"):
        sw.Session(model, tiny.make_sae())


def test_two_saes_of_one_name_are_refused(model):
    with pytest.raises(ValueError, match=r"names of their own; got \['signed', 'signed'\]"):
        sw.Session(model, fitting(model), saes=[fitting(model)])


def test_labels_must_belong_to_an_sae_and_a_feature(model):
    with pytest.raises(ValueError, match="labels for an SAE 'other'; there are"):
        sw.Session(model, fitting(model), labels={"other": {}})
    with pytest.raises(IndexError, match="no feature 77"):
        sw.Session(model, fitting(model), labels={"signed": {77: "x"}})


def test_an_unknown_sae_is_answered_with_those_there_are(session):
    with pytest.raises(ValueError, match="no SAE 'upper'; it has 'signed', 'lower'"):
        session.features(TEXT, "upper")


def missing_scale(sae):
    sae.stats = replace(sae.stats, norm=sae.stats.norm * 20)


def too_many_fire(sae):
    sae.b_enc += 1000.0
    sae.stats = replace(sae.stats, density=sae.stats.density / 9)


def explains_nothing(sae):
    sae.W_dec *= -1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (missing_scale, "mean length of .* where its statistics say"),
        (too_many_fire, "features fire on a token where its statistics say"),
        (explains_nothing, "of the variance unexplained: another hook"),
    ],
)
def test_an_sae_that_does_not_fit_the_model_is_refused_with_the_likely_reason(
    model, spoil, message
):
    sae = fitting(model)
    spoil(sae)
    with pytest.raises(ValueError, match="'signed' does not fit this model.*" + message):
        sw.Session(model, sae)
    sw.Session(model, sae, sample=None)  # unless one insists


def test_an_sae_in_half_precision_is_tried_like_any_other(model):
    sw.Session(model, fitting(model).to(torch.bfloat16))


def test_a_placebo_may_explain_nothing(model):
    sae = fitting(model)
    explains_nothing(sae)
    sae.placebo = "random"
    sw.Session(model, sae)


def test_presets_of_the_session_are_shown_in_its_panels(session, tmp_path, monkeypatch):
    monkeypatch.setattr(session, "presets", Presets(tmp_path / "p.json", session._show_presets))
    session.presets["mine"] = [sw.Add(5, 1.0)]
    session.presets["of another SAE"] = [sw.Add(5, 1.0, sae="unknown")]
    widget = session.steer()
    assert widget.presets.keys() == {"mine"}
    widget.set_state({"preset": {"id": 1, "name": "new", "edits": [sw.Add(9, 0.5).to_json()]}})
    assert widget.presets.keys() == {"mine", "new"}
    assert session.presets["new"] == (sw.Add(9, 0.5, sae="signed"),)  # a number alone is bound
    session.edits = session.presets["mine"]
    assert session.edits == (sw.Add(5, 1.0, sae="signed"),)
    widget.set_state({"preset": {"id": 2, "name": "mine"}})
    assert widget.presets.keys() == {"new"}
    (tmp_path / "p.json").write_text("{")
    widget.set_state({"preset": {"id": 3, "name": "b", "edits": []}})
    assert "does not hold presets" in widget.status["text"]


def test_of_a_hundred_closed_widgets_none_is_left(session, monkeypatch):
    shell = type("Shell", (), {"events": Events(), "get_parent": dict})()
    monkeypatch.setattr(twin, "display", lambda *_, **__: None)
    made = []
    for i in range(50):
        for widget in (session.heatmap(TEXT), session.steer(TEXT, [sw.Add(3, 1.0 + i)], length=1)):
            twin.Twin(widget, shell)
            made.append(weakref.ref(widget))
            widget.close()
    del widget
    until(lambda: (gc.collect(), not [each for each in made if each() is not None])[1], seconds=20)
    assert len(made) == 100
    assert shell.events.heard == 0


class Events:
    """IPython's, which hold who listens."""

    heard = 0

    def register(self, *_):
        self.heard += 1

    def unregister(self, *_):
        self.heard -= 1


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_session_says_how_to_make_another_where_it_is_to_be_copied(model, sae, how):
    session = sw.Session(model, sae, sample=None)
    session.heatmap("the sea")
    with pytest.raises(TypeError, match=r"Make another: Session\(session\.model, session\.sae\)"):
        how(session)


def test_a_session_of_copies_is_one_of_its_own(model, sae):
    one = sw.Session(model, sae, sample=None)
    two = sw.Session(copy.deepcopy(one.model), copy.deepcopy(one.sae), sample=None)
    before = one.generate("the sea", [sw.Add(3, 1.0)], max_new_tokens=4)
    assert two.generate("the sea", [sw.Add(3, 1.0)], max_new_tokens=4) == before
    network = two.model.original_model
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(0.5)
    assert two.generate("the sea", [sw.Add(3, 1.0)], max_new_tokens=4).logprob != before.logprob
    assert one.generate("the sea", [sw.Add(3, 1.0)], max_new_tokens=4) == before
