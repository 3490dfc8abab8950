import json
import struct
import threading
import time

import numpy as np
import pytest
import traitlets
from waiting import until

from sae_widgets.steering.edits import Ablate, Add
from sae_widgets.widgets import (
    Cancelled,
    FeatureRow,
    Heatmap,
    HeatmapView,
    Inline,
    Steering,
    Worker,
)
from sae_widgets.widgets import heatmap as module
from sae_widgets.widgets import panel as panel_module
from sae_widgets.widgets.panel import bundle, plain
from sae_widgets.widgets.steering import TokenFeed, check_edit, check_request
from sae_widgets.widgets.worker import Status

SAES = [
    {"name": "topk", "title": "TopK", "placebo": None, "hook": "h", "width": 9},
    {"name": "frozen", "title": "Frozen", "placebo": "untrained", "hook": "h", "width": 9},
]
EDIT = {
    "op": "add",
    "feature": 5,
    "strength": 0.5,
    "unit": "peak",
    "where": "all",
    "sae": "topk",
}


def view(text, sae="topk", check=None):  # noqa: ARG001
    """Feature 7 fires on the last token, feature 2 on the last but one: rows are not columns."""
    tokens = ["⟨bos⟩", *text.split()]
    return HeatmapView(
        text=text,
        sae=sae,
        tokens=tokens,
        features=[
            FeatureRow(7, "seven", 4.0, 0.1, 2.5, 2.5, 0.5),
            FeatureRow(2, "", None, None, 1.0, 1.0, 0.5),
        ],
        row=np.array([1, 0]),
        column=np.array([len(tokens) - 2, len(tokens) - 1]),
        value=np.array([1.0, 2.5]),
        active=2,
        special=[0],
    )


def describe(features, sae):
    if max(features, default=0) > 8:
        raise ValueError(f"{sae} has no feature {max(features)}")
    lens = {"likely": [["·a", np.float32(0.5)]], "unlikely": []}
    return [{"feature": feature, "label": "", **lens} for feature in features]


def heatmap(text="one two", read=view, steer=None, **options):
    return Heatmap(read, describe, steer, saes=SAES, text=text, worker=Inline, **options)


def steering(run=None, **options):
    asked = []

    def plausible(request, check, on_tokens):
        asked.append(request)
        check()
        on_tokens([["a"], ["b"]])
        return {"arms": [{"name": "base", "tokens": ["a"]}, {"name": "steered", "tokens": ["b"]}]}

    widget = Steering(run or plausible, saes=SAES, worker=Inline, **options)
    return widget, asked


def without_end():
    """A job that goes on until `check` ends it, and the event of its beginning."""
    begun = threading.Event()

    def go_on(_request, check, *_):
        begun.set()
        while True:
            check()
            time.sleep(0.001)

    return go_on, begun


def from_browser(widget, **state):
    """What the browser sends arrives through this method."""
    widget.set_state(state)


# The heatmap


def test_a_heatmap_reads_its_text_in_the_cell_that_makes_it():
    widget = heatmap()
    assert widget.view["tokens"] == ["⟨bos⟩", "one", "two"]
    assert struct.unpack("<2H", widget.row) == (1, 0)
    assert struct.unpack("<2I", widget.column) == (1, 2)
    assert struct.unpack("<2e", widget.value) == (1.0, 2.5)
    assert widget.view["features"][1]["peak"] is None


def test_a_mistake_in_the_text_raises_where_the_heatmap_is_made():
    def read(text, sae, check):  # noqa: ARG001
        raise ValueError("too long")

    with pytest.raises(ValueError, match="too long"):
        heatmap(read=read)


def test_the_text_of_a_widget_has_no_address():
    widget = heatmap()
    assert repr(widget) == "Heatmap(3 tokens × 2 features)"
    data = widget._repr_mimebundle_()[0]
    assert data["text/plain"] == "Heatmap(3 tokens × 2 features)"
    assert "application/vnd.jupyter.widget-view+json" in data
    panel, _ = steering(prompt="So", edits=[EDIT])
    assert repr(panel) == "Steering('So', 1 edit)"


def test_a_request_is_answered_with_its_own_id():
    widget = heatmap()
    from_browser(widget, text="a b c", request={"id": 41, "text": "a b c", "sae": "frozen"})
    assert (widget.view["id"], widget.view["text"], widget.view["sae"]) == (41, "a b c", "frozen")
    assert (widget.status["id"], widget.status["state"]) == (41, "done")
    assert widget.sae == "frozen"


def test_a_request_is_read_once_though_text_and_sae_change_beside_it():
    texts = []

    def read(text, sae, check):
        texts.append((text, sae))
        return view(text, sae, check)

    widget = heatmap(text="", read=read)
    request = {"id": 1, "text": "x", "sae": "frozen"}
    from_browser(widget, text="x", sae="frozen", request=request)
    assert texts == [("x", "frozen")]
    widget.text = "y"  # from Python
    assert texts == [("x", "frozen"), ("y", "frozen")]
    assert widget.view["id"] == 2
    widget.text = "x"
    assert texts[-1] == ("x", "frozen")
    assert len(texts) == 3


@pytest.mark.parametrize(
    "request_",
    [
        {"id": "1", "text": "x", "sae": "topk"},
        {"id": 1, "text": ["x"], "sae": "topk"},
        {"id": 1, "text": "x", "sae": "unknown"},
        {"id": True, "text": "x", "sae": "topk"},
    ],
)
def test_a_request_that_makes_no_sense_is_an_error_on_the_screen(request_):
    widget = heatmap()
    before = widget.view
    from_browser(widget, request=request_)
    assert widget.status["state"] == "error"
    assert widget.view is before


def test_a_trait_that_makes_no_sense_is_an_error_on_the_screen():
    widget = heatmap()
    from_browser(widget, sort="alphabetical")
    assert widget.status["state"] == "error"
    assert "sort" in widget.status["text"]
    assert widget.sort == "max"


def test_an_error_while_reading_leaves_the_old_view():
    def read(text, sae, check):
        if text == "bad":
            raise ValueError("this text is bad")
        return view(text, sae, check)

    widget = heatmap(read=read)
    widget.text = "bad"
    assert widget.status["text"] == "this text is bad"
    assert "Traceback" in widget.status["detail"]
    assert widget.view["text"] == "one two"


def test_the_selected_feature_is_described_and_an_unknown_one_is_refused_in_words():
    widget = heatmap()
    widget.selected = 7
    assert widget.card["likely"] == [["·a", 0.5]]
    assert widget.card["sae"] == "topk"
    from_browser(widget, selected=9)
    assert widget.card == {}
    assert widget.status["text"] == "topk has no feature 9"


def test_the_cards_of_all_features_come_with_the_view_in_few_bytes():
    counts = {7: [4, 0, 1], 2: [0, 0, 0]}
    lens = {
        7: ([["·a", 0.5], ["·b", 0.25]], [["·c", -2.0]]),
        2: ([["·b", 1.5], ["·a", 1.0]], [["·c", -1.0]]),
    }
    asked = []

    def told(features, sae):
        asked.append((list(features), sae))
        return [
            {"feature": f, "histogram": counts[f], "likely": lens[f][0], "unlikely": lens[f][1]}
            for f in features
        ]

    widget = Heatmap(view, told, saes=SAES, text="one two", worker=Inline)
    assert asked == [([7, 2], "topk")]
    shape = {"bins": 3, "likely": 2, "unlikely": 1}
    assert widget.cards == {
        "id": widget.view["id"],
        "vocab": ["·a", "·b", "·c"],
        **shape,
        "note": "",
    }
    numbers = [
        [*np.array([1, 0, 0.25], "<f2").view("<u2"), 0, 1],
        [*np.array([0.5, 0.25], "<f2").view("<u2"), 2, *np.array([-2.0], "<f2").view("<u2")],
        [0, 0, 0, 1, 0],
        [*np.array([1.5, 1.0], "<f2").view("<u2"), 2, *np.array([-1.0], "<f2").view("<u2")],
    ]
    assert widget.facts == np.concatenate(numbers).astype("<u2").tobytes()


def test_many_cards_are_made_in_parts_and_those_of_an_older_text_are_dropped(monkeypatch):
    monkeypatch.setattr(module, "AT_ONCE", 1)
    waiting, parts = threading.Event(), []

    def slow(features, sae):
        parts.append(list(features))
        assert waiting.wait(10)
        return describe(features, sae)

    widget = Heatmap(view, slow, saes=SAES, text="one two", worker=Worker)
    assert not widget.settled()  # so that a picture that is kept waits for them
    until(lambda: parts == [[7]])
    widget.show(view("three four five"))
    waiting.set()
    until(widget.settled)
    assert parts == [[7], [7], [2]]
    assert widget.cards["id"] == widget.view["id"]
    widget.close()


def test_the_card_is_there_when_the_cell_that_selects_ends_and_a_busy_model_holds_nobody_up():
    free = threading.Event()
    free.set()

    def slow(features, sae):
        time.sleep(0.02)
        assert free.wait(10)
        return describe(features, sae)

    widget = Heatmap(view, slow, saes=SAES, text="one two", worker=Worker)
    widget.selected = 7
    assert widget.card["feature"] == 7
    free.clear()
    start = time.monotonic()
    widget.selected = 2
    assert time.monotonic() - start < 5, "it was not held up"
    assert widget.card["feature"] == 7
    free.set()
    until(lambda: widget.card["feature"] == 2)


def test_steer_it_reaches_the_one_who_was_given():
    asked = []
    widget = heatmap(steer=lambda feature, sae: asked.append((feature, sae)))
    assert widget.steerable
    from_browser(widget, steer={"id": 1, "feature": 7, "sae": "topk"})
    from_browser(widget, steer={"id": 2, "feature": 7, "sae": "frozen"})
    assert asked == [(7, "topk"), (7, "frozen")]
    from_browser(widget, steer={"id": 3, "feature": "7", "sae": "topk"})
    assert widget.status["state"] == "error"


def test_what_is_painted_reaches_the_one_who_was_given_row_by_row():
    asked = []
    widget = heatmap(paint=lambda *row: asked.append(row))
    assert (widget.painted, heatmap().painted) == ([], None)
    rows = [
        {"sae": "topk", "feature": 7, "values": [0, 0.5, 1]},
        {"sae": "frozen", "feature": 2, "values": [0, 0.25]},
    ]
    from_browser(widget, paint={"id": 4, "rows": rows})
    assert asked == [(7, [0, 0.5, 1], "topk"), (2, [0, 0.25], "frozen")]
    assert widget.taken == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": [0, float("nan")]}, "must be finite"),
        ({"values": [0, True]}, "'strength' of type number; got True"),
        ({"values": [0, "1"]}, "'strength' of type number; got '1'"),
        ({"values": [0, 1, 1, 0]}, "4 strengths do not fit on a text of 3 tokens"),
        ({"values": [0.5, 1]}, "token 0 is special, and special tokens are never edited"),
        ({"values": {"-1": 0.5}}, "'values' of type list"),
        ({"feature": "7"}, "'feature' of type int"),
        ({"sae": None}, "'sae' of type str"),
    ],
)
def test_a_row_that_makes_no_sense_is_refused_and_said_to_be_dealt_with(change, message):
    asked = []
    widget = heatmap(paint=lambda *row: asked.append(row))
    good = {"sae": "topk", "feature": 7, "values": [0, 0.5]}
    from_browser(widget, paint={"id": 1, "rows": [{**good, **change}]})
    assert message in widget.status["text"]
    assert (asked, widget.taken) == ([], 1)
    from_browser(widget, paint={"id": 2, "rows": [good]})
    assert asked == [(7, [0, 0.5], "topk")]


@pytest.mark.parametrize(
    ("paint", "message"),
    [
        ({"id": 1}, "'rows' of type list"),
        ({"id": 1, "rows": [7]}, "a painted row is a dict; got 7"),
        ({"id": "1", "rows": []}, "'id' of type int"),
    ],
)
def test_painting_that_makes_no_sense_is_an_error_on_the_screen(paint, message):
    widget = heatmap(paint=lambda *_: None)
    from_browser(widget, paint=paint)
    assert message in widget.status["text"]


def test_a_token_that_a_new_text_lacks_is_let_go():
    widget = heatmap()
    widget.token = 2
    widget.text = "one"
    assert widget.token is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"row": np.array([0, 2])}, "row 2"),
        ({"column": np.array([0, 3])}, "token 3"),
        ({"value": np.array([1.0, np.nan])}, "finite"),
        ({"value": np.array([1.0])}, "per cell"),
    ],
)
def test_a_view_that_contradicts_itself_is_refused(change, message):
    good = view("one two")
    with pytest.raises(ValueError, match=message):
        heatmap().show(HeatmapView(**{**vars(good), **change}))


def test_a_value_too_large_for_the_wire_is_shown_as_the_largest():
    widget = heatmap()
    good = view("one two")
    widget.show(HeatmapView(**{**vars(good), "value": np.array([1e9, 1.0])}))
    assert struct.unpack("<2e", widget.value) == (65504.0, 1.0)


def test_an_unknown_sae_is_refused_in_python_with_the_known_names():
    with pytest.raises(traitlets.TraitError, match="topk"):
        heatmap().sae = "nope"
    with pytest.raises(ValueError, match="at least one SAE"):
        Heatmap(view, describe, saes=[], worker=Inline)


# Steering


def test_a_prompt_is_run_when_the_panel_is_made():
    widget, asked = steering(prompt="So", edits=[EDIT])
    assert asked[0]["prompt"] == "So"
    assert asked[0]["edits"] == [EDIT]
    assert widget.run["arms"][1]["tokens"] == ["b"]
    assert widget.run["id"] == widget.status["id"]


def test_what_python_changes_is_run_live_and_not_when_live_is_off():
    widget, asked = steering(prompt="So")
    widget.edits = [EDIT]
    widget.temperature = 0.5
    assert [request["edits"] for request in asked] == [[], [EDIT], [EDIT]]
    widget.live = False
    widget.seed = 3
    assert len(asked) == 3
    widget.start()
    assert asked[-1]["seed"] == 3


def test_a_request_from_the_browser_is_run_once_though_the_edits_change_beside_it():
    widget, asked = steering(prompt="So")
    request = {"id": 9, "prompt": "So", "length": 3, "temperature": 0, "seed": 1, "edits": [EDIT]}
    request["control"] = "random"
    from_browser(widget, edits=[EDIT], request=request)
    assert len(asked) == 2
    assert widget.run["id"] == 9
    assert widget.run["request"]["length"] == 3


def test_python_may_give_edits_as_edits():
    widget, asked = steering(prompt="So")
    widget.edits = [Add(5, 0.25)]
    assert widget.edits[0]["strength"] == 0.25
    assert asked[-1]["edits"] == widget.edits


def test_edits_that_make_no_sense_are_refused_and_the_old_ones_kept():
    widget, _ = steering(edits=[EDIT])
    with pytest.raises(traitlets.TraitError, match="op is one of add"):
        widget.edits = [{**EDIT, "op": "multiply"}]
    from_browser(widget, edits=[{**EDIT, "strength": float("inf")}])
    assert "finite" in widget.status["text"]
    assert widget.edits == [EDIT]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": "multiply"}, "op is one of add"),
        ({"feature": -1}, "from 0"),
        ({"feature": 1.5}, "a feature's number or a vector"),
        ({"strength": "much"}, "a strength is a number"),
        ({"strength": float("nan")}, "finite"),
        ({"sort": "of"}, "no 'sort'"),
        ({"unit": "kg"}, "unit"),
        ({"where": "nowhere"}, "nowhere"),
    ],
)
def test_an_edit_that_makes_no_sense_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        check_edit({**EDIT, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 0}, "1 to 2000"),
        ({"length": 10**9}, "1 to 2000"),
        ({"temperature": -1}, "temperature"),
        ({"temperature": float("nan")}, "finite"),
        ({"seed": -1}, "seed"),
        ({"control": "luck"}, "a control is one of random, flipped"),
        ({"prompt": None}, "'prompt' of type str"),
        ({"edits": "none"}, "'edits'"),
    ],
)
def test_a_run_that_makes_no_sense_is_refused(change, message):
    good = {"id": 1, "prompt": "So", "length": 3, "temperature": 0.5, "seed": 0, "edits": [EDIT]}
    good["control"] = ""
    check_request(good)
    with pytest.raises(ValueError, match=message):
        check_request({**good, **change})


def test_a_run_that_was_replaced_is_not_shown():
    begun, go_on = threading.Event(), threading.Event()

    def run(request, check, on_tokens):  # noqa: ARG001
        if request["prompt"] == "first":
            begun.set()
            go_on.wait(5)  # this run never asks whether it should stop
        return {"arms": [], "prompt": [request["prompt"]]}

    widget = Steering(run, saes=SAES, prompt="first")
    assert begun.wait(5)
    widget.prompt = "second"
    go_on.set()
    end = time.monotonic() + 5
    while widget.run.get("prompt") != ["second"] and time.monotonic() < end:
        assert widget.run.get("prompt") != ["first"]
        time.sleep(0.002)
    assert widget.run["prompt"] == ["second"]


def test_what_edits_do_is_measured_when_a_run_begins_and_when_it_is_done():
    asked = []

    def measure(request, check, written):
        check()
        asked.append((request["seed"], written, dict(widget.run) if asked else {}))
        return [{"mean": 0.5 if written else None}]

    widget, _ = steering(measure=measure, edits=[EDIT])
    widget.prompt = "So"
    assert [(seed, written) for seed, written, _ in asked] == [(0, False), (0, True)]
    assert asked[1][2]["arms"][1]["tokens"] == ["b"]
    assert (widget.effects["id"], widget.effects["mean"]) == (widget.run["id"], 0.5)
    assert widget.effects["code"] == widget.to_code()


def test_a_measurement_that_fails_spoils_no_run():
    def measure(request, check, written):  # noqa: ARG001
        raise RuntimeError("out of memory")

    widget, _ = steering(measure=measure, edits=[EDIT], prompt="So")
    assert (widget.status["state"], widget.run["arms"][1]["tokens"]) == ("done", ["b"])
    assert widget.effects["trouble"] == "RuntimeError: out of memory"


def test_a_run_that_is_stopped_is_measured_as_far_as_it_came():
    endless, begun = without_end()

    def run(request, check, on_tokens):
        try:
            endless(request, check, on_tokens)
        except Cancelled:
            return {"arms": [], "ended": "stopped"}

    def measure(request, check, written):  # noqa: ARG001
        check()
        return [{"mean": 0.5 if written else None}]

    widget = Steering(run, measure, saes=SAES, prompt="So")
    assert begun.wait(5)
    from_browser(widget, stop=widget.status["id"])
    until(lambda: widget.effects.get("mean") == 0.5 and widget.status["state"] != "working")
    assert (widget.status["state"], widget.run["ended"]) == ("done", "stopped")


SWEEP = {"id": 4, "prompt": "So", "length": 5, "temperature": 0, "seed": 0, "control": ""}


def test_a_sweep_is_made_beside_the_run_and_tells_what_it_is_of():
    seen = []

    def sweep(request, check):
        check()
        seen.append((request["prompt"], widget.swept["state"]))
        return {"arms": [], "safe": 1.0}

    widget, asked = steering(sweep=sweep)
    from_browser(widget, sweep={**SWEEP, "edits": [EDIT]})
    assert seen == [("So", "working")]
    assert (widget.swept["id"], widget.swept["state"], widget.swept["safe"]) == (4, "done", 1.0)
    assert widget.swept["request"]["edits"] == [EDIT]
    widget._show_sweep(Status(5, "working"))
    assert (widget.swept["state"], widget.swept["safe"]) == ("working", 1.0)  # the old one stays
    assert asked == []  # nothing ran, and no run was ended


def test_a_sweep_that_cannot_be_made_says_why():
    def sweep(request, check):  # noqa: ARG001
        raise ValueError("Ablate(4) has no strength to scale")

    widget, _ = steering(sweep=sweep)
    from_browser(widget, sweep={**SWEEP, "edits": [EDIT]})
    assert (widget.swept["state"], widget.swept["text"]) == (
        "error",
        "Ablate(4) has no strength to scale",
    )
    from_browser(widget, sweep={**SWEEP, "edits": [EDIT], "length": 0})
    assert "a run writes 1 to" in widget.swept["text"]
    assert widget.status["state"] == "idle"


def test_a_sweep_is_stopped_without_a_word_to_the_run():
    endless, begun = without_end()
    widget = Steering(lambda *_: {}, sweep=endless, saes=SAES)
    from_browser(widget, sweep={**SWEEP, "edits": [EDIT]})
    assert begun.wait(5)
    from_browser(widget, sweep={})
    until(lambda: widget.swept["state"] == "stopped")
    assert widget.status["state"] == "idle"


def test_stop_ends_the_run_it_names():
    endless, begun = without_end()
    widget = Steering(endless, saes=SAES, prompt="So")
    assert begun.wait(5)
    from_browser(widget, stop=widget.status["id"])
    until(lambda: widget.status["state"] == "stopped")


def test_streamed_tokens_are_gathered_to_twenty_messages_a_second(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    sent = []
    feed = TokenFeed(6, sent.append)
    for step in range(100):  # a hundred tokens in one second
        now[0] = step / 100
        feed([[f"a{step}"], [f"b{step}"]])
    assert len(sent) <= 20
    assert sent[0]["arms"] == [["a0"], ["b0"]]  # the first token goes at once
    # Each message stands alone: one that was lost, or came before the view, is not missed.
    told = sent[-1]["arms"][1]
    assert told == [f"b{step}" for step in range(len(told))]
    assert len(told) > 90
    assert sent[5]["arms"][1] == told[: len(sent[5]["arms"][1])]


def test_the_panel_says_in_python_what_it_does():
    edits = [Add(3, 0.5, sae="topk"), Ablate(4, sae="topk")]
    widget, _ = steering(prompt="the sea", edits=[edit.to_json() for edit in edits], seed=4)
    code = widget.to_code()
    assert "from sae_widgets import Ablate, Add\n" in code

    class Session:
        def generate(self, *asked, **options):
            return asked, options

    made = {"session": Session()}
    exec(code, made)  # our own words, just written
    assert made["run"] == (
        ("the sea", edits),
        {"max_new_tokens": 40, "temperature": 0.0, "seed": 4},
    )
    widget.control = "random"
    assert "seed=4, compare=['random'])" in widget.to_code()


# Both


def test_a_panel_out_of_sight_computes_nothing_until_it_is_seen_again(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    widget, asked = steering(prompt="So")
    widget.send = lambda _: None
    ping = {"kind": "ping", "id": 1}
    widget._handle_custom_msg(ping, [])
    widget.edits = [EDIT]
    assert len(asked) == 2, "it is on screen"
    now[0] += 60
    widget.edits = [{**EDIT, "strength": 0.1}]
    widget.edits = [{**EDIT, "strength": 0.2}]
    assert len(asked) == 2
    widget._handle_custom_msg(ping, [])
    assert [request["edits"][0]["strength"] for request in asked[2:]] == [0.2]


def test_an_error_in_anything_that_hangs_on_a_trait_is_said_and_answers_the_request():
    widget = heatmap()

    def fail(_change):
        raise RuntimeError("my own mistake")

    widget.observe(fail, "text")
    from_browser(widget, text="three", request={"id": 77, "text": "three", "sae": "topk"})
    assert widget.status["state"] == "error"
    assert widget.status["id"] == 77
    assert "my own mistake" in widget.status["text"]


def test_a_ping_is_answered():
    widget = heatmap()
    sent = []
    widget.send = sent.append
    widget._handle_custom_msg({"kind": "ping", "id": 12}, [])
    widget._handle_custom_msg("nonsense", [])
    assert sent == [{"kind": "pong", "id": 12}]


def test_a_bundle_that_was_not_built_says_how_to_build_it(monkeypatch, tmp_path):
    monkeypatch.setattr(panel_module, "STATIC", tmp_path)
    with pytest.raises(FileNotFoundError, match="npm run build"):
        bundle("heatmap.js")


def test_numbers_that_json_cannot_say_are_refused():
    assert plain({"a": np.float32(0.5), "b": (1, 2)}) == {"a": 0.5, "b": [1, 2]}
    with pytest.raises(ValueError, match="NaN or infinity"):
        plain({"a": float("nan")})
    with pytest.raises(TypeError, match="object"):
        plain({"a": object()})


def test_what_was_written_is_kept_as_a_tree_of_states():
    widget, _ = steering(edits=[EDIT], prompt="So")
    widget.edits = [{**EDIT, "op": "set"}]
    widget.edits = [EDIT]
    assert [(state["id"], state["parent"]) for state in widget.history] == [(1, 0), (2, 1)]
    assert widget.here == 1
    assert widget.history[1]["request"]["edits"][0]["op"] == "set"
    assert widget.history[0]["arms"][1]["tokens"] == ["b"]


def test_a_run_that_wrote_nothing_is_no_state():
    def run(_request, _check, _on_tokens):
        return {"arms": [{"name": "base", "tokens": []}], "ended": "stopped"}

    widget, _ = steering(run=run, prompt="So")
    assert (widget.history, widget.here) == ([], 0)


def test_edits_are_kept_as_a_preset_and_forgotten():
    told = []
    widget, _ = steering(keep=lambda *given: told.append(given))
    from_browser(widget, preset={"id": 1, "name": "sea", "edits": [EDIT]})
    from_browser(widget, preset={"id": 2, "name": "sea"})
    assert told == [("sea", [EDIT]), ("sea", None)]
    from_browser(widget, preset={"id": 3, "name": 7, "edits": []})
    assert "'name' of type str; got 7" in widget.status["text"]
    from_browser(widget, preset={"id": 4, "name": "sea", "edits": [{"op": "exec"}]})
    assert "an edit's op is one of" in widget.status["text"]
    assert len(told) == 2


def test_what_is_not_json_is_a_trait_of_its_own_and_hosts_need_not_look_for_it_inside_of_others():
    widgets = [heatmap(), steering(prompt="a")[0]]
    for widget in widgets:
        state = {name: value for name, value in widget.get_state().items() if name != "layout"}
        flat = {name: value for name, value in state.items() if not isinstance(value, bytes)}
        json.dumps(flat, allow_nan=False)
