"""Opening what was shared: the same widgets, live, or in words why not; and nothing is run."""

import base64
import copy
import json
import pickle
import sys
from pathlib import Path

import pytest
import tiny
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import GPT2LMHeadModel
from waiting import end, until

import sae_widgets as sw
from sae_widgets.share.folder import refusal
from sae_widgets.share.source import in_folder
from sae_widgets.share.stored import stored_widgets
from sae_widgets.wire import versions

STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
TEXT = "the sea and the ship"
LABELS = {"signed": {5: {"label": "the fifth", "strength": 0.7, "where": "generated"}, 9: "nine"}}


def saes():
    lower = tiny.make_sae("blocks.0.hook_resid_post", name="lower")
    return [tiny.make_sae(), lower]


@pytest.fixture(scope="module")
def session(model):
    first, *others = saes()
    made = sw.Session(model, first, saes=others, labels=LABELS, sample=None)
    made.edits = [sw.Add(5, 2.0, unit="raw"), sw.Ablate(3, sae="lower", on=False)]
    made.selected = 9
    return made


def traits_of(widget):
    """What a notebook stores of a widget, but for the bytes, which are stored apart."""
    state = {k: v for k, v in widget.get_state().items() if not isinstance(v, bytes | memoryview)}
    return json.loads(json.dumps(state))


@pytest.fixture(scope="module")
def saved(session):
    """The traits of a heatmap and of a panel that has written twice."""
    heatmap = session.heatmap(TEXT)
    heatmap.sort, heatmap.dense, heatmap.token = "share", 0.5, 4
    panel = session.steer(TEXT, length=5, temperature=0.7, seed=11, control="flipped")
    until(lambda: panel.here == 1)
    panel.live = False
    panel.length = 6
    panel.start()
    until(lambda: panel.here == 2 and panel.status["state"] == "done")
    found = [traits_of(heatmap), traits_of(panel)]
    end(heatmap, panel)
    return found


def notebook(states, seen=None):
    """A notebook that stores these states under the ids m0, m1, …, and shows those `seen`."""
    seen = [f"m{place}" for place in range(len(states))] if seen is None else seen
    outputs = [{"output_type": "display_data", "data": {VIEW: {"model_id": id}}} for id in seen]
    models = {
        f"m{place}": {"model_module": "anywidget", "model_name": "AnyModel", "state": state}
        for place, state in enumerate(states)
    }
    return {
        "cells": [{"cell_type": "markdown"}, {"outputs": outputs[:1]}, {"outputs": outputs[1:]}],
        "metadata": {"widgets": {STATE: {"state": models}}},
    }


def page(states, views=None, before=""):
    """A page as save_html writes it: each value once, and the widgets by their places."""
    values, told = [], []
    for name, traits in states:
        told.append({"name": name, "traits": {}, "bytes": []})
        for trait, value in traits.items():
            if value not in values:
                values.append(value)
            told[-1]["traits"][trait] = values.index(value)
    data = json.dumps({"values": values, "widgets": told}).replace("<", "\\u003c")
    numbers = range(len(states)) if views is None else views
    places = "".join(f'<div class="x" data-sae-view="{number}"></div>' for number in numbers)
    return (
        f"<!doctype html><html><body>{before}<main>{places}</main>"
        f'<script type="application/json">{data}</script><script>run(1 < 2)</script></body></html>'
    )


def written(folder, content, name=None):
    text = content if isinstance(content, str) else json.dumps(content)
    path = folder / (name or ("shared.ipynb" if isinstance(content, dict) else "shared.html"))
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def opened(model, tmp_path):
    """Opens a file with the model and the SAEs that it needs, and closes it after the test."""
    made = []

    def open_it(content):
        shared = sw.open_shared(written(tmp_path, content), model, saes())
        made.extend(shared.widgets)
        return shared

    yield open_it
    end(*made)


# What comes back


@pytest.mark.parametrize("kind", ["notebook", "page"])
def test_the_widgets_are_live_again_as_they_were_left(opened, saved, session, kind):
    made = notebook(saved)
    if kind == "page":
        made = page([("heatmap", saved[0]), ("steering", saved[1])])
    (heatmap, panel), (first, second) = opened(made)
    assert first is second
    assert first.edits == session.edits
    assert (first.chosen, first.selected) == ("signed", 9)
    assert heatmap.view["tokens"] == saved[0]["view"]["tokens"]
    assert heatmap.view["features"] == saved[0]["view"]["features"]  # labels among them
    assert (heatmap.sort, heatmap.dense, heatmap.token) == ("share", 0.5, 4)
    until(lambda: panel.status["state"] == "done" and panel.run)
    for trait in ("prompt", "length", "temperature", "seed", "control", "live", "about"):
        assert getattr(panel, trait) == saved[1][trait], trait
    assert panel.run["arms"] == saved[1]["run"]["arms"]
    assert panel.features == saved[1]["features"]  # and what is recommended
    # What is written again is the state that was there, and from it one goes on.
    assert (panel.history, panel.here) == (saved[1]["history"], 2)
    panel.seed = 12
    panel.start()
    until(lambda: panel.here == 3)
    assert panel.history[-1]["parent"] == 2
    heatmap.selected = 5
    assert panel.selected == first.selected == 5


def test_what_was_recorded_comes_along_and_is_checked(model, tmp_path):
    first, *others = saes()
    session = sw.Session(model, first, saes=others, sample=None)
    panel = session.record([5, 9], [1.0], [0, 2], prompt=TEXT, length=3)
    sw.save_html(panel, tmp_path / "page.html")
    made = notebook([traits_of(panel)])
    numbers = base64.b64encode(panel.numbers).decode()
    model_state = made["metadata"]["widgets"][STATE]["state"]["m0"]
    model_state["buffers"] = [{"path": ["numbers"], "encoding": "base64", "data": numbers}]
    for path in (tmp_path / "page.html", written(tmp_path, made)):
        (again,), _ = sw.open_shared(path, model, saes())
        assert again.recording == panel.recording
        end(again)
    for wrong in ("", numbers[:-4], "no base64", None, [1]):
        model_state["buffers"][0]["data"] = wrong
        with pytest.raises(ValueError, match=r"widget 1 .steering.: a recording ends too early"):
            sw.open_shared(written(tmp_path, made), model, saes())
    end(panel)


def test_the_demo_opens_by_itself(tmp_path):
    session = sw.load_demo()
    widget = session.heatmap("Ahoy, the sailor hauled the net.")
    session.chosen = "frozen-256"
    state = traits_of(widget)
    state["about"]["model"]["name"] = "/somewhere/else"  # the weights count
    state["about"]["versions"]["torch"] = "1.0"  # as long as they are right
    widget.close()
    (again,), (other,) = sw.open_shared(written(tmp_path, notebook([state])))
    assert again.view["sae"] == "frozen-256"
    assert other.labels == session.labels
    again.close()


def test_widgets_that_disagree_in_what_a_session_shares_are_of_two(opened, saved):
    heatmap, panel = saved
    other = {**panel, "edits": [], "prompt": "", "history": [], "here": 0}
    shared = opened(notebook([heatmap, panel, other, {**heatmap, "selected": 3}]))
    one, two, three = dict.fromkeys(shared.sessions)
    assert shared.sessions == (one, one, two, three)
    assert (len(one.edits), two.edits, three.selected) == (2, (), 3)


def test_only_what_is_shown_is_opened_and_each_widget_once_in_the_order_of_the_file(
    tmp_path, saved
):
    orphan = {**saved[0], "text": "an orphan"}
    other = {"_anywidget_id": "lib.Other", "_esm": "alert(1)"}
    states = [saved[0], orphan, other, saved[1]]
    made = notebook(states, ["m3", "m2", "m0", "m3", "unknown", 7])
    found = stored_widgets(written(tmp_path, made))
    assert [each.kind for each in found] == ["steering", "heatmap"]
    assert found[1].traits["text"] == TEXT
    named = [("heatmap", saved[0]), ("heatmap", orphan), ("steering", saved[1]), ("evil", {})]
    # Another output of the notebook may hold data, and places, of its own.
    before = '<script type="application/json">[1]</script><div data-sae-view="9x">'
    found = stored_widgets(written(tmp_path, page(named, [2, 0, 2, 3, 99, -1, "²"], before)))
    assert [each.kind for each in found] == ["steering", "heatmap"]
    assert found[1].traits["text"] == TEXT


def test_what_colab_stores_without_its_state_is_read_too(tmp_path, saved):
    made = notebook(saved[:1])
    made["metadata"]["widgets"][STATE] = made["metadata"]["widgets"][STATE]["state"]
    assert [each.kind for each in stored_widgets(written(tmp_path, made))] == ["heatmap"]


# What is missing or different


def refused(tmp_path, saved, model, sae, change=lambda _about: None):
    """What is said of a heatmap and a panel that were made with something else."""
    about = copy.deepcopy(saved[0]["about"])
    change(about)
    path = written(tmp_path, notebook([{**each, "about": about} for each in saved]))
    with pytest.raises(ValueError, match=r"'shared.ipynb' cannot be made live here:") as error:
        sw.open_shared(path, model, sae)
    return str(error.value).splitlines()[1:]


def test_all_that_is_missing_or_different_is_said_at_once(tmp_path, saved, tokenizer):
    other = tiny.gpt2(tokenizer)
    with torch.no_grad():
        next(other.original_model.parameters()).mul_(1.5)
    changed, lower = saes()
    changed.W_dec *= 2
    changed.hook = lower.hook
    weights = saved[0]["about"]["saes"]
    lines = refused(tmp_path, saved, other, [changed])
    assert len(lines) == 4
    assert lines[0].startswith(
        f"- model 'GPT2LMHeadModel': its weights was '{saved[0]['about']['model']['weights']}' and"
    )
    assert "SAE 'signed': its hook was 'blocks.1.hook_resid_post' and is 'blocks.0" in lines[1]
    assert f"SAE 'signed': its weights was '{weights['signed']['weights']}' and is" in lines[2]
    assert lines[3] == (
        f"- SAE 'lower' (weights '{weights['lower']['weights']}', '32' features, hook "
        "'blocks.0.hook_resid_post') is not here: pass it in sae="
    )


def test_a_model_that_is_not_here_and_versions_that_differ_are_said(tmp_path, saved):
    def change(about):
        about["model"]["name"] = "gpt2"
        about["versions"] |= {"torch": "1.0", "sae-widgets": "12.3.4"}

    lines = refused(tmp_path, saved, None, saes(), change)
    assert lines[0].startswith("- model 'gpt2' (weights '")
    assert "is not here: pass it as model=." in lines[0]
    assert lines[1].startswith("- sae-widgets '12.3.4' wrote it, and 0.")
    assert lines[2] == (
        f"It may be the versions: sae-widgets was '12.3.4' and is {versions()['sae-widgets']!r} "
        f"here; torch was '1.0' and is {versions()['torch']!r} here."
    )


def test_another_demo_is_not_taken_for_the_one_that_was_shared(tmp_path, saved):
    def change(about):
        about["model"]["name"] = "postcards"

    lines = refused(tmp_path, saved, None, None, change)
    assert lines[0].startswith("- model 'postcards': its weights was")
    assert "SAE 'signed'" in lines[1]


def test_an_sae_under_another_name_and_a_model_of_another_dtype_are_said(tmp_path, saved, model):
    first, second = saes()
    first.name = "renamed"

    def change(about):
        about["model"]["dtype"] = "bfloat16"

    lines = refused(tmp_path, saved, model, [first, second], change)
    assert lines[0] == "- model 'GPT2LMHeadModel': its dtype was 'bfloat16' and is 'float32' here"
    assert "SAE 'signed'" in lines[1]
    assert "is not here: it is called 'renamed' here; set its name" in lines[1]


def test_what_a_file_says_is_cut_where_it_is_long(tmp_path, saved, model):
    def change(about):
        about["saes"] = {f"{i}{'x' * 10_000}": about["saes"]["lower"] for i in range(50)}

    lines = refused(tmp_path, saved, model, saes(), change)
    assert len(lines) == 13
    assert lines[-1] == "- and 38 more"
    assert max(map(len, lines)) < 300


def test_a_model_in_a_local_folder_is_found_by_its_name(tmp_path, tokenizer, monkeypatch):
    config = tiny.gpt2(tokenizer).original_model.config
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "mine")
    tokenizer.save_pretrained(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    widget = sw.Session(sw.load_model("mine"), *saes()[:1], sample=None).heatmap(TEXT)
    path = written(tmp_path, notebook([traits_of(widget)]))
    widget.close()
    (again,), _ = sw.open_shared(path, sae=tiny.make_sae())
    assert again.view["tokens"] == widget.view["tokens"]
    again.close()


@pytest.fixture
def bare(tmp_path):
    """A folder that looks like a model of data alone."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"_name_or_path": "/home/a/b", "vocab_file": null}')
    (folder / "model.safetensors").write_bytes(b"")
    index = {"metadata": {"by": "a/b"}, "weight_map": {"x": "model.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_a_folder_of_data_alone_is_not_refused(bare):
    assert refusal(str(bare)) is None
    (bare / "model.safetensors").unlink()
    assert refusal(str(bare)) == "it has no .safetensors"


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        (
            "config.json",
            r'{"auto\u005fmap": {"AutoModel": "them--x.Y"}}',
            "'auto_map', which leads",
        ),
        ("b.json", r'[[{"a": {"\u0061uto_map": {"A": "x.Y"}}}]]', "'auto_map', which leads"),
        ("b.json", '{"auto_map": {"A": "x.Y"}, "auto_map": null}', "'auto_map', which leads"),
        ("T.JSON", '{"auto_map": "x.Y"}', "'auto_map', which leads"),
        ("b.json", "{'auto_map': 1}", "'b.json' is not JSON"),
        ("b.json", "[" * 200_000, "'b.json' is not JSON"),
        ("b.json", b'\xff{"a": 1}', "'b.json' is not JSON"),
        ("c.json", '{"base_model_name_or_path": "them/x"}', "leads to code or to another model"),
        ("c.json", r'{"vocab_file": "\\\\host\\v.txt"}', "leads out of its folder in 'vocab_file'"),
        ("c.json", '{"text": {"attn_implementation": "a/b"}}', "asks for code of the hub"),
        ("x.index.json", '{"weight_map": {"w": "w.bin"}}', "no .safetensors beside it"),
        ("x.index.json", '{"weight_map": {"w": "../w.safetensors"}}', "no .safetensors beside"),
        ("pytorch_model.bin", "", "'pytorch_model.bin' may be a pickle"),
        ("a.pt", "", "may be a pickle"),
        ("a.PTH", "", "may be a pickle"),
        ("a.ckpt", "", "may be a pickle"),
        ("a.pkl", "", "may be a pickle"),
        ("modeling.py", "", "'modeling.py' is code"),
    ],
)
def test_a_folder_that_holds_more_than_data_is_not_loaded_by_itself(bare, name, text, why):
    (bare / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    assert why in refusal(str(bare))
    assert in_folder(str(bare)) is None


@pytest.mark.parametrize("name", ["", "gpt2", "x" * 5_000, "a\0b"])
def test_a_name_that_is_no_folder_is_no_model(name):
    assert in_folder(name) is None


@pytest.mark.parametrize("before", ["//", r"\\", "/\\", "\\/", "\\\\?\\UNC\\", "\\??\\UNC\\"])
def test_a_path_of_another_machine_is_not_looked_at(before, monkeypatch):
    def look(self):
        raise AssertionError(f"looked at {self}")

    monkeypatch.setattr(Path, "iterdir", look)
    for after in ("host/share", r"host\share", "/host"):
        assert refusal(before + after) == "it is on another machine"


def test_code_beside_a_model_is_neither_run_nor_asked_about(bare, monkeypatch):
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "y")
    mark = bare.parent / "ran"
    (bare / "m.py").write_text(f"open({str(mark)!r}, 'w')")
    classes = {"AutoConfig": "m.A", "AutoModelForCausalLM": "m.B", "AutoTokenizer": ["m.C", None]}
    told = json.dumps({"model_type": "odd", "auto_map": classes})
    for name in ("config.json", "tokenizer_config.json"):
        (bare / name).write_text(told)
    with pytest.raises(ValueError, match=r"brings code of its own.*load_model\(model, tokenizer\)"):
        sw.load_model(bare)
    assert not asked and not mark.exists()


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        ("{", "a.ipynb", "nothing can be opened in 'a.ipynb': it is not a notebook: no JSON"),
        (notebook([]), "a.ipynb", "it shows no widget of sae_widgets"),
        (notebook([], ["gone"]), "a.ipynb", "neither its state, nor its picture below it. Run"),
        (notebook([{"_anywidget_id": "lib.Other"}]), "a.ipynb", "no widget of sae_widgets"),
        ("<p>hello", "a.html", "it shows no widget of sae_widgets"),
        (page([("evil", {})]), "a.html", "it shows no widget of sae_widgets"),
        (page([("heatmap", {})], []), "a.html", "it shows no widget of sae_widgets"),
        ("hello", "a.pkl", r"'a.pkl' is neither a notebook \(.ipynb\) nor a page"),
    ],
)
def test_a_file_without_our_widgets_is_refused_in_words(tmp_path, content, name, message):
    with pytest.raises(ValueError, match=message):
        sw.open_shared(written(tmp_path, content, name))


def test_a_widget_that_was_saved_before_it_said_what_it_was_made_with(tmp_path, saved):
    path = written(tmp_path, notebook([{**saved[0], "about": {}}]))
    with pytest.raises(ValueError, match=r"widget 1 \(heatmap\): it does not say what it was made"):
        sw.open_shared(path)


# Tampered states


HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J'; import os #"
EDIT = {"op": "add", "feature": 5, "strength": 1.0, "unit": "raw", "sae": "signed"}


def deep(depth):
    condition = {"fires": 5}
    for _ in range(depth):
        condition = {"not": condition}
    return condition


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("heatmap", {"text": ["the"]}, "'text' of type str"),
        ("heatmap", {"text": None}, "'text' of type str"),
        ("heatmap", {"sort": "alphabetical"}, "sort"),
        ("heatmap", {"sort": {"toString": 1}}, "'sort' of type str"),
        ("heatmap", {"scale": HOSTILE}, "scale"),
        ("heatmap", {"dense": 7.0}, "dense"),
        ("heatmap", {"dense": float("nan")}, "must be finite"),
        ("heatmap", {"dense": True}, "'dense' of type number"),
        ("heatmap", {"token": 10**30}, "there is no token 1000000000000000000000000000000"),
        ("heatmap", {"token": -1}, "there is no token -1"),
        ("heatmap", {"token": 1.5}, "'token' of type int"),
        ("heatmap", {"sae": HOSTILE}, "has no SAE .<img src=x"),
        ("heatmap", {"sae": ["signed"]}, "'sae' of type str"),
        ("heatmap", {"selected": 32}, "no feature 32"),
        ("heatmap", {"selected": -1}, "no feature -1"),
        ("heatmap", {"selected": "9"}, "'selected' of type int"),
        ("heatmap", {"view": {"sae": "signed", "features": [5]}}, "is a dict; got 5"),
        ("heatmap", {"view": {"sae": "x", "features": [{"feature": 1, "label": "l"}]}}, "SAE 'x'"),
        ("steering", {"prompt": 7}, "'prompt' of type str"),
        ("steering", {"length": 10**9}, "a run writes 1 to 2000 tokens"),
        ("steering", {"length": "6"}, "'length' of type int"),
        ("steering", {"temperature": float("inf")}, "must be finite"),
        ("steering", {"temperature": -0.1}, "a temperature is 0"),
        ("steering", {"seed": 2**60}, "seed"),
        ("steering", {"seed": -1}, "a seed is a whole number from 0"),
        ("steering", {"control": "luck"}, "a control is one of random, flipped"),
        ("steering", {"live": "yes"}, "live"),
        ("steering", {"edits": None}, "'edits' of type list"),
        ("steering", {"edits": [7]}, "an edit is a dict; got 7"),
        ("steering", {"edits": [{**EDIT, "op": "exec"}]}, "an edit's op is one of add"),
        ("steering", {"edits": [{**EDIT, "op": ["add"]}]}, "unhashable"),
        ("steering", {"edits": [{**EDIT, "feature": 10**9}]}, "no feature 1000000000"),
        ("steering", {"edits": [{**EDIT, "strength": 10**400}]}, "too large"),
        ("steering", {"edits": [{**EDIT, "strength": float("nan")}]}, "must be finite"),
        ("steering", {"edits": [{**EDIT, "sae": "theirs"}]}, "no SAE 'theirs'"),
        ("steering", {"edits": [{**EDIT, "sae": ["signed"]}]}, "sae is a name; got"),
        ("steering", {"edits": [{**EDIT, "__class__": "os"}]}, "an edit has no '__class__'"),
        ("steering", {"edits": [{**EDIT, "when": deep(3) | {"x": 1}}]}, "a condition is one of"),
        ("steering", {"edits": [{**EDIT, "schedule": {"kind": HOSTILE}}]}, "a schedule's kind"),
        ("steering", {"features": {"0": 1}}, "'features' of type list"),
        ("steering", {"features": [{"sae": "signed", "feature": 99, "label": "x"}]}, "feature 99"),
        ("steering", {"features": [{"sae": "signed", "feature": 5, "label": 1}]}, "'label'"),
        ("steering", {"history": [7]}, "a state of the history is a dict; got 7"),
        ("steering", {"history": [], "here": 3}, "there is no state 3"),
        ("steering", {"recorded": {"takes": []}}, "'numbers' of type bytes"),
        ("steering", {"recorded": 7}, "'recorded' of type dict"),
        ("steering", {"about": {"model": 1, "saes": {}, "versions": {}}}, "'model' of type dict"),
        ("steering", {"about": []}, "does not say what it was made with"),
    ],
)
def test_a_state_that_was_tampered_with_is_refused_in_words(opened, saved, kind, change, message):
    state = saved[["heatmap", "steering"].index(kind)]
    with pytest.raises(ValueError, match=message) as error:
        opened(notebook([{**state, **change}]))
    assert str(error.value).startswith(f"'shared.ipynb', widget 1 ({kind}): ")
    assert len(str(error.value)) < 600
    assert "\x1b" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": 0}, "numbered upwards from 1"),
        ({"id": 10**400, "parent": 10**400}, "numbered upwards"),
        ({"parent": 9}, "comes after its parent"),
        ({"request": None}, "'request' of type Mapping"),
        ({"arms": [{"name": "base", "tokens": [1], "nll": None}]}, "'token' of type str"),
        ({"arms": [{"name": "base", "tokens": [], "nll": float("nan")}]}, "must be finite"),
        ({"arms": [[]]}, "an arm is a dict"),
    ],
)
def test_a_history_that_makes_no_sense_is_refused(opened, saved, change, message):
    panel = saved[1]
    state = {**panel["history"][0], **change}
    with pytest.raises(ValueError, match=message):
        opened(notebook([{**panel, "history": [state], "here": 0}]))
    with pytest.raises(ValueError, match="a history keeps 24 states; got 25"):
        opened(notebook([{**panel, "history": [panel["history"][0]] * 25}]))


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        ("heatmap", {"text": "a" * 100_001}, "its text has 100,001 characters; at most 100,000"),
        ("steering", {"prompt": "a" * 10**7}, "its prompt has 10,000,000 characters"),
        ("steering", {"edits": [{}] * 10_001}, "it holds 10,001 edits; at most 10,000"),
        ("steering", {"history": [{"edits": [{}] * 6000}] * 2}, "it holds 12,002 edits"),
        ("steering", {"history": [{}] * 10_001}, "it holds 10,001 states; at most 10,000"),
    ],
)
def test_what_would_take_minutes_to_open_is_refused_in_words(opened, saved, kind, change, said):
    state = {**next(each for each in saved if kind in str(each["_anywidget_id"])), **change}
    with pytest.raises(ValueError, match=rf"widget 1 \({kind}\): {said}"):
        opened(notebook([state]))


def test_hostile_texts_are_texts(opened, saved):
    heatmap, panel = saved
    labels = [{"sae": "signed", "feature": 7, "label": HOSTILE, "push": None}]
    changed = {"prompt": HOSTILE, "features": labels, "history": [], "here": 0}
    (first, second), (session, _) = opened(
        notebook([{**heatmap, "text": HOSTILE, "token": None}, {**panel, **changed}])
    )
    assert first.text == HOSTILE
    assert session.labels["signed"][7] == HOSTILE
    until(lambda: second.status["state"] in ("done", "error"))
    assert second.status["state"] == "done"
    assert "".join(second.run["prompt"]) == HOSTILE


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=3)
    | st.sampled_from(["signed", "lower", "add", "all", "raw"])
)
NAMES = st.sampled_from(["op", "feature", "fires", "sae", "kind", "model"])
FLAT = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(NAMES, LEAVES, max_size=3)
JSON = FLAT | st.lists(FLAT, max_size=2) | st.dictionaries(NAMES, FLAT, max_size=2)


def places(value, path=()):
    """All places in a value of JSON, its own among them."""
    yield path
    inside = enumerate(value) if isinstance(value, list) else ()
    for name, each in value.items() if isinstance(value, dict) else inside:
        yield from places(each, (*path, name))


def replaced(value, path, new):
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = replaced(value[path[0]], path[1:], new)
    return value


@pytest.fixture
def tamper(tmp_path, model, saved):
    """Opens a widget, or is refused, with something put into a place of one of its traits."""

    def put(panel, which, where, new):
        state = saved[panel]
        traits = [trait for trait in state if not trait.startswith("_")]
        trait = traits[which % len(traits)]
        paths = list(places(state[trait], (trait,)))
        changed = replaced(state, paths[where % len(paths)], new)
        try:
            shared = sw.open_shared(written(tmp_path, notebook([changed])), model, saes())
        except ValueError:
            return
        end(*shared.widgets)

    return put


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(panel=st.booleans(), which=st.integers(0, 2**9), where=st.integers(0, 2**20), new=JSON)
def test_whatever_is_put_anywhere_into_a_state_opens_or_is_refused(
    tamper, panel, which, where, new
):
    tamper(panel, which, where, new)


# Nothing is run

EVENTS = {"pickle.find_class", "os.system", "subprocess.Popen", "socket.connect"}
watching: list[str] | None = None


def watch(event, arguments):
    # Python compiles for itself too: what counts is what stood in the file.
    if watching is not None and (event in EVENTS or "tampered" in str(arguments[:1])):
        watching.append(event)


sys.addaudithook(watch)


@pytest.fixture
def watched():
    """What Python says is done that a file could ask for."""
    global watching
    watching = []
    yield watching
    watching = None


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('tampered')",)


@pytest.mark.parametrize("kind", ["notebook", "page"])
def test_opening_runs_nothing_of_the_file_and_unpickles_nothing(opened, saved, watched, kind):
    evil = pickle.dumps(Evil()).hex()
    state = {
        **saved[0],
        "_esm": "import os; os.system('tampered')",
        "_model_module": "os",
        "_view_module": "subprocess",
        "row": evil,
        "status": {"id": 1, "state": "error", "text": evil},
        "request": {"id": 7, "text": "__import__('os').system('tampered')"},
        "steer": {"id": 1, "feature": 5, "sae": "signed"},
        "paint": {"id": 1, "rows": [{"sae": "signed", "feature": 5, "values": [0, 1]}]},
        "pick": {"id": 1, "sae": "lower", "feature": 1},
    }
    made = notebook([state]) if kind == "notebook" else page([("heatmap", state)])
    (widget,), (session,) = opened(made)
    assert watched == []
    assert "tampered" not in str(widget._esm)
    # Nor is anything done that the file says somebody had clicked.
    assert session.edits == ()
    assert session.chosen == "signed"
    assert widget.status["state"] == "idle"


def test_the_watch_sees_what_it_is_there_to_see(watched):
    with pytest.raises(SystemExit, match="tampered"):
        pickle.loads(pickle.dumps(Evil()))
    assert {"pickle.find_class", "compile"} <= set(watched)
