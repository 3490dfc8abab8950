"""Truth tables, labels, steering scores and the report, on text small enough to read."""

import json
import math

import pytest
import torch

from sae_widgets.demo import report, trials, world
from sae_widgets.demo.concepts import Evidence
from sae_widgets.demo.quality import (
    HUMAN,
    HeldOut,
    after_tokens,
    children,
    crossed,
    evidence,
    human,
    labels,
    members,
)
from sae_widgets.demo.trials import (
    Choice,
    Score,
    Written,
    best,
    betrayed,
    markers,
    mixture,
    plain,
    share_of,
    spill,
    whole_sentences,
)


@pytest.fixture(autouse=True)
def fewer_documents(monkeypatch):
    """Markers are counted on three thousand documents; three hundred show the same words."""
    monkeypatch.setattr(trials, "markers", lambda axis: markers(axis, documents=300))


def test_a_truth_table_leaves_out_what_is_too_rare_or_always_true():
    rows = [{"topic:sea", "verb"}, {"verb"}, {"verb", "topic:sea"}, {"verb"}] * 2
    table = evidence(rows, [True] * 4 + [False] * 4)
    assert table.concepts == ("topic:sea",)
    assert table.truth[:, 0].tolist() == [True, False] * 4
    assert table.choosing.sum() == 4


def test_groups_and_hierarchies_are_read_off_the_concepts():
    concepts = ("topic:sea", "animal", "animal:whale", "colour:red", "mood:pos")
    assert members(concepts)["topic"] == ["topic:sea"]
    assert children(concepts) == {"animal": ["animal:whale"]}


@pytest.mark.parametrize(
    ("concept", "words"),
    [
        ("topic:sea", "sea"),
        ("register:pirate", "pirate speech"),
        ("mood:neg", "bad mood"),
        ("tense:past", "past tense"),
        ("person:first", "first person"),
        ("animal:whale", "whale"),
        ("plural", "plural"),
        ("name", "name"),
        ("name:hugo", "Hugo"),
    ],
)
def test_concepts_have_names_for_people(concept, words):
    assert human(concept) == words


def test_every_register_of_the_world_has_a_name_for_people():
    assert all(f"register:{name}" in HUMAN for name in world.REGISTERS)


def test_a_feature_may_be_named_after_its_word_or_the_word_before():
    words = torch.tensor([5, 1, 7, 3] * 40)
    before = torch.tensor([9, 5, 1, 7] * 40)
    shown = {1: " the", 3: ".", 5: " a", 7: " cat", 9: " in"}
    on_the = torch.tensor([0.0, 2.0, 0.0, 0.0] * 40)
    after_the = torch.tensor([0.0, 0.0, 2.0, 0.0] * 40)
    assert after_tokens(on_the, words, before, shown, strongest=30).label == "“the”"
    assert after_tokens(after_the, words, before, shown, strongest=30).label == "“cat”"
    either = words.clone()
    either[2::8] = 3  # the word itself is now one of two, the word before is always the same
    assert after_tokens(after_the, either, before, shown, strongest=30).label == "after “the”"


def test_a_name_lists_a_few_words_where_one_is_not_enough():
    words = torch.tensor([1, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8] * 10)
    before = torch.arange(110) + 100
    shown = {i: f" w{i}" for i in range(300)}
    fires = (words <= 3).float() + 0.1
    assert after_tokens(fires, words, before, shown, strongest=60).label == "“w1”, “w2”"
    many = (words >= 4).float() + 0.1  # five words share what is left
    assert after_tokens(many, words, before, shown, strongest=50) is None


def test_a_feature_may_be_named_after_a_class_within_a_state():
    sea = torch.tensor([True, True, False, False] * 20)
    verb = torch.tensor([True, False, True, False] * 20)
    choosing = torch.arange(80) < 40
    truth = Evidence(("topic:sea", "verb"), torch.stack([sea, verb], 1), choosing)
    both = crossed(truth)
    assert both.concepts == ("topic:sea & verb",)
    assert both.truth[:, 0].tolist() == [True, False, False, False] * 20
    held = HeldOut([[0, *range(1, 81)]], torch.arange(80), truth, truth, truth)
    named = labels((sea & verb).float()[:, None], held, {i: str(i) for i in range(81)})
    assert named[0].to_json() == {"label": "sea: verb", "concept": "topic:sea & verb", "mcc": 1.0}


def test_a_feature_that_hardly_fires_or_agrees_with_nothing_has_no_name():
    words = torch.arange(100)
    shown = {i: str(i) for i in range(100)}
    assert after_tokens(torch.ones(100), words, words, shown, strongest=30) is None
    assert after_tokens(torch.zeros(100), words, words, shown, strongest=30) is None


def test_labels_name_states_and_classes_and_must_hold_on_the_other_half():
    # 40 sentences of 2 tokens; feature 0 is the sea on both halves, feature 1 only while choosing.
    sea = torch.tensor([True, False] * 20)
    choosing = torch.arange(40) < 20
    sentence = torch.arange(80) // 2
    truth = Evidence(("topic:sea",), sea[:, None], choosing)
    tokens = Evidence(("topic:sea",), sea[sentence][:, None], choosing[sentence])
    values = torch.zeros(80, 2)
    values[:, 0] = sea[sentence].float() * 3
    values[:, 1] = (sea & choosing)[sentence].float() * 3
    held = HeldOut([[0, *range(1, 81)]], sentence, truth, tokens, truth)
    named = labels(values, held, {i: str(i) for i in range(81)})
    assert set(named) == {0}
    assert named[0].to_json() == {"label": "sea", "concept": "topic:sea", "mcc": 1.0}


def test_a_cut_off_sentence_is_not_judged():
    assert whole_sentences('I ran. "We ran." I will') == ["I ran.", '"We ran."']


def test_the_share_counts_only_words_that_one_topic_owns():
    owned = next(word for word, topic in world.EXCLUSIVE.items() if topic == "sea")
    other = next(word for word, topic in world.EXCLUSIVE.items() if topic == "space")
    text = f"The {owned} and the {owned} and the {other}."
    written = Written((text,), (text,), ((0,),), (1,))
    assert share_of(written, "topic:sea") == (pytest.approx(2 / 3), 3)


def test_words_are_compared_without_capitals_and_punctuation():
    assert plain(' "Arr,') == "arr"


def test_markers_betray_a_state():
    table = markers("register", documents=300)
    assert table["ahoy"] == "pirate"
    assert table["verily"] == "archaic"
    assert "and" not in table
    assert betrayed(["Ahoy, ahoy! Verily, the sea."], "register") == {"pirate": 2, "archaic": 1}
    assert mixture(["Ahoy, verily."], "register") == {"pirate": 0.5, "archaic": 0.5}


def test_spill_is_the_largest_change_on_the_other_axes():
    alone = Written(("It",), ("Ahoy, arr! Verily.",), ((0,),), (1,))
    steered = Written(("It",), ("Ahoy! Verily, hark!",), ((0,),), (1,))
    assert spill(steered, alone, "topic") == pytest.approx(1 / 3)
    assert spill(steered, alone, "register") == 0.0


def test_of_what_parses_the_choice_is_large_in_share_and_in_parsing(monkeypatch):
    parsed = {"all": 0.2, "much": 0.89, "some": 0.95, "little": 1.0}
    read = []

    def score(written, _):
        read.append(written.texts[0])
        return Score(0.5, parsed[written.texts[0]], 10, 10)

    monkeypatch.setattr(trials, "score", score)
    results = [Written((text,), (text,), ((0,),), (1,)) for text in parsed]
    plan = [("topic:sea", 7, strength) for strength in (0.9, 0.5, 0.3, 0.1)]
    found = [(0.99, 0), (0.97, 1), (0.93, 2), (0.1, 3)]
    assert best("topic:sea", found, plan, results).strength == 0.3
    assert read == ["all", "much", "some"]  # a share of .1 cannot be worth more, however it parses
    parsed |= {"much": 0.3, "some": 0.1, "little": 0.4}
    assert best("topic:sea", found, plan, results).strength == 0.1


def test_a_choice_is_an_edit_in_norms_that_fades_while_the_text_is_written():
    edit = Choice("topic:sea", 3, 0.4, Score(0.0, 0.0, 0, 0)).edit
    assert (edit.feature, edit.strength, edit.unit) == (3, 0.4, "norm")
    assert (edit.where, edit.schedule) == ("generated", trials.FADING)


# The report


def measured(mcc, fvu=0.05):
    groups = dict.fromkeys(("topic", "register", "mood", "tense"), mcc)
    counts = dict.fromkeys(("covered", "scored", "distinct", "assigned", "best", "split"), 3.0)
    return {
        "concepts": {"groups": groups, "told": groups, **counts, "missed": 0.1, "absorbed": 0.1},
        "fidelity": {"fvu": fvu, "l0": 8.0, "dead": 0.0},
        "loss": {"recovered": 0.995, "cost": 0.01},
    }


def steered(share, parsed=0.9):
    one = {"share": share, "parsed": parsed, "surprise": 0.1, "strength": 0.3}
    return {"concepts": {f"topic:{topic}": one for topic in world.TOPICS}}


def results(frozen=0.5):
    kinds = {**dict.fromkeys(report.TRAINED, 0.95), "frozen-256": frozen, "frozen-512": 0.6}
    kinds |= {"untrained-256": 0.2, "untrained-512": 0.2}
    return {
        "language": {0: {"loss": 1.9, "floor": 1.8, "gap": 0.1, "parsed": 0.98}},
        "plain": {0: {kind: measured(0.4)["concepts"] for kind in ("residual", "pca")}},
        "saes": {f"0/{name}/{s}": measured(mcc) for name, mcc in kinds.items() for s in (0, 1)},
        "steering": {
            "0/batchtopk-256/0": steered(0.9),
            "0/batchtopk-256/1": steered(0.9, parsed=0.8),
            "0/frozen-256/0": steered(0.3),
            "0/random/0": steered(0.1),
        },
        "stability": {},
    }


def found(summary, start):
    return next(one for one in summary["targets"] if one["target"].startswith(start))


def test_targets_are_judged_one_by_one():
    summary = report.summary(results(), [0], [0, 1])
    assert not found(summary, "language model within")["reached"]
    assert found(summary, "batchtopk-256: MCC of topic")["reached"]
    assert found(summary, "batchtopk-256: every seed above")["reached"]
    assert found(summary, "batchtopk-256: one feature steers")["found"] == [10, 0]
    assert not found(summary, "batchtopk-256: one feature steers")["reached"]
    assert found(summary, "steering with random")["reached"]


def test_one_control_above_one_seed_is_enough_to_miss():
    summary = report.summary(results(frozen=0.96), [0], [0, 1])
    entry = found(summary, "batchtopk-256: every seed above")
    assert not entry["reached"]
    assert entry["found"][0] == "topic against frozen-256"


def test_the_report_is_json_and_readable():
    summary = report.summary(results(), [0], [0, 1])
    json.dumps(summary)
    text = report.markdown(summary)
    assert "| BatchTopK, 256 | 0.95 ± 0.00 |" in text
    assert "**no**" in text
    assert "placebo" in text


def test_spread_says_mean_and_deviation():
    one = report.spread([1.0, 2.0, 6.0])
    assert (one["mean"], one["min"], one["max"]) == (3.0, 1.0, 6.0)
    assert one["sd"] == pytest.approx(math.sqrt((4 + 1 + 9) / 2))
    assert report.spread([2.0])["sd"] == 0.0


def test_compositions_keep_their_columns_after_a_way_through_sorted_json():
    composed = {"shares": {"mood:neg": 0.3, "register:child": 0.2, "topic:sea": 0.1}, "parsed": 0.9}
    name = "topic:sea + register:child + mood:neg"
    table = report.compositions({"0/batchtopk-256/0": {"composition": {name: composed}}})
    assert table.splitlines()[-1].endswith("| 0.10 | 0.20 | 0.30 | 0.90 |")
