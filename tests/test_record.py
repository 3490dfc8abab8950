"""Recordings: what they hold is what single runs write and what plain torch measures."""

import base64
import itertools
import json
import math
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest
import tiny
from waiting import end, until

import sae_widgets as sw
from sae_widgets.steering.effects import effects
from sae_widgets.steering.record import Plan, Take, Wrote, record, seconds
from sae_widgets.widgets.recording import Recording

PROMPT = "the sea and"
EDITS = [sw.Add(5, 9.0, unit="raw", where="generated"), sw.Scale(7, 3.0), sw.Set(9, 1.0)]
SEEDS = [3, 1]


@pytest.fixture
def session(model):
    made = sw.Session(model, tiny.make_sae(), sample=None)
    yield made
    end(*made._steerings)


@pytest.fixture
def panel(session):
    return session.record(EDITS, [-1.0, 2.0], SEEDS, prompt=PROMPT, length=6, temperature=0.8)


def test_a_recorded_text_is_that_of_a_single_run_with_the_same_edit_and_seed(session, panel):
    takes = panel.recording.takes
    assert [(take.edit["op"], take.seed) for take in takes] == [
        (edit.op, seed) for seed in SEEDS for edit in EDITS
    ]
    for take, (seed, edit) in zip(takes, [(s, e) for s in SEEDS for e in EDITS], strict=True):
        assert take.strengths == (-1.0, 2.0)
        for arm in take.arms:
            edits = [] if arm.strength is None else [replace(edit, strength=arm.strength)]
            run = session.generate(PROMPT, edits, max_new_tokens=6, temperature=0.8, seed=seed)
            assert "".join(arm.tokens) == run.texts[-1]
            assert arm.nll == pytest.approx(run.nll(-1), rel=1e-3)
            assert arm.ratio == pytest.approx(run.ratio[-1], rel=1e-3)
            assert arm.positions == run.positions[-1]


def test_its_strips_and_curves_are_what_the_session_measures(session, panel):
    take, edit = panel.recording.takes[3], replace(EDITS[0], strength=2.0)
    assert take.seed == 1
    run = session.generate(PROMPT, [edit], max_new_tokens=6, temperature=0.8, seed=1)
    ids = [*run.ids, *run.tokens[0]]

    kl = effects(session.model, session.saes, ids, [edit], prompt=len(run.ids)).kl.tolist()
    arm = take.arms[2]
    assert len(arm.strip) == len(ids)
    assert arm.strip == pytest.approx([0.0, *kl[:-1]], rel=1e-3, abs=1e-6)
    assert take.arms[0].strip == ()
    swept = session.sweep(
        PROMPT, [edit], [1.0], max_new_tokens=6, temperature=0.8, seed=1, control=None
    )
    (point,) = swept.steered
    found = (arm.concept, arm.kl, arm.surprise, arm.distinct)
    wanted = (point.concept, point.kl, point.surprise, point.distinct)
    assert found == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert take.arms[0].concept == pytest.approx(swept.base.concept, rel=1e-3)
    assert point.kl > 0.01
    assert max(kl) > 0.01


def test_a_panel_with_a_recording_shows_one_recorded_edit_and_keeps_the_others_at_hand(panel):
    assert [(edit["strength"], edit["on"]) for edit in panel.edits] == [
        (2.0, True), (2.0, False), (2.0, False)
    ]  # fmt: skip
    assert (panel.prompt, panel.length, panel.temperature, panel.seed) == (PROMPT, 6, 0.8, 3)
    assert repr(panel.recording) == (
        "Recording('the sea and', 3 edits, 12 runs of 6 tokens, seeds [1, 3])"
    )


def test_a_number_stands_for_the_recommended_edit(session):
    panel = session.record([5], [1.0], prompt=PROMPT, length=2)
    assert panel.recording.find(5, 1.0).tokens
    assert panel.recording.takes[0].edit["unit"] == "peak"
    with pytest.raises(ValueError, match=r"feature 5 was not recorded at strength 0\.5"):
        panel.recording.find(5, 0.5)


def test_a_recording_is_added_to_that_of_the_same_prompt_and_replaces_another_s(session, panel):
    before = panel.recording
    again = session.record([EDITS[0]], [0.5], [1], panel=panel)
    assert again is panel
    takes = panel.recording.takes
    assert len(takes) == len(before.takes)
    changed = [take for take, old in zip(takes, before.takes, strict=True) if take != old]
    assert [(take.seed, take.strengths) for take in changed] == [(1, (0.5,))]
    session.record([sw.Add(2, 1.0)], [0.5], panel=panel)
    assert len(panel.recording.takes) == len(before.takes) + 1
    assert [edit["feature"] for edit in panel.edits] == [5, 7, 9, 2]
    session.record([2], [0.5], panel=panel, prompt="a theory")
    assert [take.edit["feature"] for take in panel.recording.takes] == [2]
    assert panel.prompt == "a theory"


def test_what_is_finished_is_kept_when_recording_is_interrupted(session, monkeypatch):
    def interrupted(*args, **keys):
        takes = record(*args, **keys)
        yield next(takes)
        yield next(takes)
        raise KeyboardInterrupt

    monkeypatch.setattr("sae_widgets.session.recorder.record", interrupted)
    panel = session.record(EDITS, [1.0], prompt=PROMPT, length=2)
    assert [take.edit["op"] for take in panel.recording.takes] == ["add", "scale"]
    assert len(panel.edits) == 3


def test_what_is_finished_is_kept_beside_what_somebody_else_has_recorded_meanwhile(
    session, monkeypatch
):
    panel = session.record([5], [1.0], prompt=PROMPT, length=2)

    def failing(*args, **keys):
        takes = record(*args, **keys)
        yield next(takes)
        # As the button does.
        panel.also(replace(panel.recording, takes=(replace(first, seed=7),)))
        raise RuntimeError("the model is gone")

    first = panel.recording.takes[0]
    monkeypatch.setattr("sae_widgets.session.recorder.record", failing)
    with pytest.raises(RuntimeError, match="the model is gone"):
        session.record(iter([EDITS[1], EDITS[2]]), iter([2.0]), panel=panel)
    found = [(take.edit["op"], take.seed) for take in panel.recording.takes]
    assert found == [("add", 0), ("add", 7), ("scale", 0)]


def test_where_nobody_says_an_edit_is_recorded_around_its_own_strength(session):
    panel = session.record([sw.Add(5, 1.5, unit="raw")], prompt=PROMPT, length=1)
    assert panel.recording.takes[0].strengths == (-1.5, -0.75, 0.375, 0.75, 1.125, 1.5, 2.25, 3.0)
    assert panel.edits[0]["strength"] == 1.5


def asked(edits, **more):
    return {"prompt": PROMPT, "length": 3, "temperature": 0.0, "seeds": [2], "edits": edits, **more}


def test_a_panel_asks_before_it_records_and_then_tells_how_far_it_is(session):
    panel = session.steer(PROMPT, EDITS[:2], length=3)
    told = []
    panel.observe(lambda change: told.append(change["new"]), "recorder")
    edits = [edit.to_json() for edit in session.edits]
    panel.record = asked(edits, id=4)
    until(lambda: panel.recorder.get("state") == "asks", 20, lambda: panel.recorder)
    how_much = panel.recorder["text"]
    assert re.fullmatch(r"16 runs of 3 tokens, about \d kB in the notebook, about \d s", how_much)
    assert panel.recording is None
    panel.record = asked(edits, id=5, sure=True)
    until(lambda: panel.recorder.get("state") == "done", 20, lambda: panel.recorder)
    assert [take.strengths for take in panel.recording.takes] == [
        (-9.0, -4.5, 2.25, 4.5, 6.75, 9.0, 13.5, 18.0),
        (-1.0, 0.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0),
    ]
    working = [each for each in told if each["id"] == 5 and each["text"]]
    assert {each["text"] for each in working} == {how_much}
    assert working[0]["share"] == 0.0
    panel.record = asked(edits, id=6, length=2)
    until(lambda: panel.recorder.get("state") == "asks", 20, lambda: panel.recorder)
    assert "in place of what is recorded with another prompt or settings" in panel.recorder["text"]


def test_who_is_asked_and_cancels_has_nothing_recorded(session):
    panel = session.steer(PROMPT, EDITS[:1], length=3)
    panel.record = asked(panel.edits, id=1)
    until(lambda: panel.recorder.get("state") == "asks", 20, lambda: panel.recorder)
    panel.record = {}
    assert panel.recorder["state"] == "done"
    assert panel.recording is None


def test_recording_that_is_stopped_keeps_what_is_finished_and_says_so(session, monkeypatch):
    started = []

    def endless(*args, check, **keys):
        yield next(record(*args, check=check, **keys))
        started.append(True)
        while True:
            check()

    monkeypatch.setattr("sae_widgets.session.recorder.record", endless)
    panel = session.steer(PROMPT, EDITS[:2], length=2)
    panel.record = asked(panel.edits, id=7, length=2, sure=True)
    until(lambda: started, 20, lambda: panel.recorder)
    panel.record = {}
    until(lambda: panel.recorder["state"] == "stopped")
    assert len(panel.recording.takes) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": []}, "nothing to record: name at least one feature or edit"),
        ({"features": [sw.Ablate(3)]}, r"Ablate\(3, sae='signed'\) has no strength to record"),
        ({"features": [5, sw.Add(5, 2.0)]}, r"recorded once.* got Add\(5, 1.0.*\) twice"),
        ({"features": [99]}, "99"),
        ({"strengths": []}, r"one or more strengths.* got \[\]"),
        ({"strengths": [1.0, 1.0]}, "finite and each once"),
        ({"strengths": [math.inf]}, r"got \[inf\]"),
        ({"seeds": []}, "at least one seed"),
        ({"seeds": [0, 0]}, r"each once; got \[0, 0\]"),
        ({"seeds": [-1]}, "whole numbers from 0"),
        ({"length": 2500}, "writes 1 to 2000 tokens; got length 2500"),
        ({"length": 0}, "writes at least 1 token; got length 0"),
        ({"length": -5}, "writes at least 1 token; got length -5"),
        ({"temperature": 20.0}, "0 .greedy. to 10; got 20"),
        ({"strengths": [0.5, -1e39]}, "farther than numbers go"),
        ({"prompt": ""}, "continues a prompt; give one in prompt="),
        ({"seeds": range(900), "length": 30},
         r"7,200 runs of 30 tokens, about 1,\d\d\d kB in the notebook, and 1,000 kB is the most"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_or_is_too_much_is_refused_before_anything_runs(
    session, change, message
):
    asked = {"features": [5], "prompt": PROMPT, "length": 2, **change}
    with pytest.raises((ValueError, IndexError), match=message):
        session.record(**asked)
    assert session._steerings == []
    assert session.edits == ()


def test_a_request_that_makes_no_sense_is_said_in_the_panel(session):
    panel = session.steer(PROMPT, EDITS[:1], length=2)
    for wrong, message in (
        ({"seeds": ["x"]}, "'seed' of type int"),
        ({"sure": 1}, "sure or not; got 1"),
    ):
        panel.record = asked([], id=1, **wrong)
        assert panel.recorder["state"] == "error"
        assert message in panel.recorder["text"]


def planned(session, feature, seeds):
    ids = session._encode(PROMPT).ids
    plan = Plan(ids, [sw.Add(feature, 1.0)], [[0.5]], seeds, length=6, temperature=0.0)
    return session._recorder.planned(PROMPT, plan), plan


def full(session):
    """A recording of features 5 and 8 that leaves little room."""
    bare, _ = planned(session, 5, [0])
    words = tuple(f" {word:06x}" for word in range(60_000))
    base = Wrote(None, words[:1], None, None, None, None, None, 0.0, (0, 0), ())
    strip = (0.0,) * (len(bare.given) + 1)
    arms = base, replace(base, strength=0.5, tokens=words, strip=strip)
    edits = [sw.Add(feature, 1.0).to_json() for feature in (5, 8)]
    return replace(bare, takes=tuple(Take(edit, 0, True, arms) for edit in edits))


def test_a_recording_that_would_grow_too_large_is_refused_before_anything_runs_and_kept(
    session, monkeypatch
):
    panel = session.steer(PROMPT, EDITS[:1], length=6)
    before = full(session)
    # 60,000 words of 7 letters between quotes, with a comma and a space; two takes in base64.
    assert before.size == pytest.approx(60_000 * 11 + 2 * 60_000 * 2 * 4 / 3, rel=2e-3)
    panel.recording = before
    monkeypatch.setattr("sae_widgets.session.recorder.record", None)  # whoever called it would fail
    monkeypatch.setattr("sae_widgets.session.recorder.seconds", None)
    much = {"strengths": [k / 100 for k in range(1, 200)], "seeds": range(4), "panel": panel}
    with pytest.raises(
        ValueError,
        match=r"this would record 796 runs of 6 tokens, about \d\d kB, beside the 9\d\d kB that "
        r"this panel has: 1,0\d\d kB in the notebook, and 1,000 kB is the most. Drop what is not "
        r"needed, `panel.recording = panel.recording.without\(5\)`, or all of it, "
        "`panel.recording = None`",
    ):
        session.record([sw.Scale(7, 3.0)], **much)
    edits = [sw.Scale(feature, 3.0).to_json() for feature in range(12)]
    told = []
    panel.observe(lambda change: told.append(change["new"]), "recorder")
    for id, sure in ((1, False), (2, True)):
        panel.record = asked(edits, id=id, sure=sure, length=6, seeds=[*range(12)])
        until(lambda: told[-1:] and told[-1]["state"] == "error", 20, lambda: panel.recorder)
        assert told[-1]["id"] == id
        assert "beside the 9" in told[-1]["text"]
        told.clear()
        panel.record = {}
    assert panel.recording == before
    assert [edit["feature"] for edit in panel.edits] == [5]


def test_room_is_made_by_dropping_takes_and_none_is_needed_beside_what_is_replaced(session):
    before = full(session)
    with pytest.raises(ValueError, match="of feature 3 nothing was recorded"):
        before.without(8, 3)
    kept = before.without(8)
    assert [take.edit["feature"] for take in kept.takes] == [5]
    assert before.without(before.takes[1].edit) == kept
    assert before.without(sw.Add(8, -3.0, on=False)) == kept
    with pytest.raises(ValueError, match=r"of Scale\(.*8.* nothing was recorded"):
        before.without(sw.Scale(8, 3.0))
    kept.check_room(*planned(session, 2, range(100)))
    for feature, room in ((5, True), (2, False)):
        takes, plan = planned(session, feature, range(2000))
        assert 600_000 < plan.size < 800_000
        with nullcontext() if room else pytest.raises(ValueError, match="beside the 820 kB"):
            kept.check_room(takes, plan)
        assert kept.goes_with(takes)
    nameless = [
        replace(take, edit={"op": "add", "vector": [place]})
        for place, take in enumerate(before.takes)
    ]
    with pytest.raises(ValueError, match=r"recording.without\(panel.recording.takes\[0\].edit\)"):
        replace(before, takes=tuple(nameless)).check_room(*planned(session, 2, range(2000)))
    assert replace(before, takes=tuple(nameless)).without(nameless[0].edit).takes == (nameless[1],)


def test_the_estimate_of_the_time_grows_with_the_plan(model, sae):
    plan = Plan([0, 30, 41], [sw.Add(5, 1.0)], [[1.0]], [0], length=4, temperature=0.0)
    more = replace(plan, seeds=list(range(50)))
    assert 0 < seconds(model, sae, plan, lambda: None) < seconds(model, sae, more, lambda: None)


# As bytes


def take(edit=5, seed=0, tokens=("a", "é", ""), strip=(0.0, 0.25), **facts):
    known = {"nll": 1.5, "concept": None, "kl": 0.125, "surprise": -0.5, "distinct": 1.0,
             "ratio": 0.25, "positions": (2, 70_000), **facts}  # fmt: skip
    base = Wrote(strength=None, tokens=("a",), strip=(), **known)
    steered = Wrote(strength=0.5, tokens=tokens, strip=strip, **known)
    return Take({"op": "add", "feature": edit}, seed, True, (base, steered))


def recording(*takes):
    return Recording("p", ("p",), 3, 0.0, takes)


def test_a_recording_comes_back_from_its_bytes():
    made = recording(take(), take(6, 2, tokens=(), nll=None, concept=1e9))
    described, numbers = made.pack()
    assert described["vocab"] == ["a", "é", ""]
    back = Recording.unpack(json.loads(json.dumps(described)), numbers)
    assert [each.strengths for each in back.takes] == [(0.5,), (0.5,)]
    one, two = back.takes[0].arms[1], back.takes[1].arms[1]
    assert (one.tokens, one.strip, one.positions) == (("a", "é", ""), (0.0, 0.25), (2, 65_535))
    assert (one.nll, one.concept, one.surprise) == (1.5, None, -0.5)
    assert (two.tokens, two.nll, two.concept) == ((), None, 65_504.0)
    assert back.pack() == (described, numbers)


def test_the_bytes_are_those_that_are_described():
    numbers = recording(take()).pack()[1]
    facts = bytes.fromhex("003e 007e 0030 00b8 003c 0034")
    positions = bytes.fromhex("0200 ffff")
    assert numbers == (
        b"\1\0" + positions + facts + b"\0\0"
        + b"\3\0" + positions + facts + b"\0\0\1\0\2\0" + bytes.fromhex("0000 0034")
    )  # fmt: skip


def test_twelve_edits_at_nine_strengths_with_two_seeds_take_less_than_300_kb_in_a_notebook():
    """Of 40 tokens each, and though no two texts have a token in common."""
    words = (f" {word:x}word" for word in itertools.count())
    given = tuple(itertools.islice(words, 20))
    known = {"nll": 1.5, "concept": 0.5, "kl": 0.125, "surprise": -0.5, "distinct": 1.0,
             "ratio": 0.25, "positions": (20, 39)}  # fmt: skip

    def text():
        return tuple(itertools.islice(words, 40))

    def wrote(strength):
        strip = () if strength is None else (0.125,) * 60
        return Wrote(strength=strength, tokens=text(), strip=strip, **known)

    edits = [sw.Add(feature, 1.0, sae="signed").to_json() for feature in range(100, 112)]
    arms = (None, *(0.1 + k / 10 for k in range(9)))
    takes = [Take(edit, seed, True, tuple(map(wrote, arms))) for seed in (0, 1) for edit in edits]
    described, numbers = Recording("prompt", given, 40, 0.7, tuple(takes)).pack()
    stored = len(json.dumps(described)) + len(base64.b64encode(numbers))
    assert len(takes) * 9 == 216
    assert 100_000 < stored < 300_000


def test_more_than_65_536_different_tokens_need_wider_places():
    tokens = tuple(map(str, range(65_000)))
    others = tuple(map(str, range(65_000, 65_600)))
    made = recording(take(tokens=tokens), take(6, tokens=others))
    described, numbers = made.pack()
    assert len(described["vocab"]) > 65_536
    assert Recording.unpack(described, numbers).takes[1].arms[1].tokens == others


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d, n: (d, n[:-1]), "ends too early, after 47 bytes"),
        (lambda d, n: (d, n + b"\0"), "1 bytes too many"),
        (lambda d, n: (d | {"vocab": ["a"]}, n), "not among its 1"),
        (lambda d, n: (d | {"vocab": [1, 2, 3]}, n), "'vocab' of type str"),
        (lambda d, n: (d | {"given": None}, n), "'given' of type list"),
        (lambda d, n: (d | {"takes": [3]}, n), "a take is a dict"),
        (lambda d, n: (d | {"takes": [{**d["takes"][0], "peaks": 1}]}, n), "in peaks or not"),
        (lambda d, n: (d | {"takes": [{**d["takes"][0], "strengths": ["x"]}]}, n), "strength"),
        (lambda d, n: (d, b"\xff" * len(n)), "ends too early"),
    ],
)
def test_a_recording_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        Recording.unpack(*change(*recording(take()).pack()))
