"""Named edits in a file beside the notebook."""

import json
import os

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import sae_widgets as sw
from sae_widgets.steering.presets import FILE, Presets

EDITS = (
    sw.Add(5, 0.5, where="generated", schedule=sw.Decay(12), sae="topk"),
    sw.Set(torch.tensor([1.0, -2.5]), 3.0, unit="raw", hook="blocks.0.hook_resid_post"),
    sw.Ablate(7, when=sw.Fires(3, 0.5) & ~sw.Fires(4)),
)


@pytest.fixture
def presets(tmp_path):
    return Presets(tmp_path / "kept.json")


def test_what_was_kept_is_read_back_by_another(presets):
    presets["pirate at sea"] = EDITS
    presets["nothing"] = []
    again = Presets(presets.path)
    assert list(again) == ["pirate at sea", "nothing"]
    assert [edit.to_json() for edit in again["pirate at sea"]] == [e.to_json() for e in EDITS]
    del again["nothing"]
    assert dict(presets).keys() == {"pirate at sea"}
    with pytest.raises(KeyError):
        del presets["nothing"]


@hypothesis.given(name=st.text(min_size=1).filter(str.strip))
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_any_name_is_kept(presets, name):
    presets[name] = EDITS[:1]
    assert name.strip() in presets


def test_it_tells_when_something_changed(tmp_path):
    told = []
    presets = Presets(tmp_path / FILE, changed=lambda: told.append(len(presets)))
    presets["a"] = []
    del presets["a"]
    assert told == [1, 0]


def test_a_name_must_say_something(presets):
    with pytest.raises(ValueError, match="needs a name"):
        presets[" \n"] = []
    assert not presets.path.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expecting property name"),
        ("[]", "list indices"),
        ('{"format": "other", "presets": {}}', "its format is 'other'"),
        ('{"format": "sae_widgets presets 1"}', "'presets'"),
        ('{"format": "sae_widgets presets 1", "presets": {"a": [{"op": "exec"}]}}', "an edit's op"),
        ('{"format": "sae_widgets presets 1", "presets": {"a": 3}}', "not iterable"),
    ],
)
def test_a_file_that_holds_something_else_is_an_error_and_left_alone(presets, text, said):
    presets.path.write_text(text)
    with pytest.raises(ValueError, match=said) as found:
        presets["a"] = []
    assert "kept.json does not hold presets" in str(found.value)
    assert presets.path.read_text() == text


def test_a_full_disk_leaves_what_was_there(presets, monkeypatch):
    presets["a"] = EDITS

    def full(*_):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        presets["b"] = []
    assert list(presets) == ["a"]
    assert sorted(os.listdir(presets.path.parent)) == [".kept.json.lock", "kept.json"]


def test_the_file_stays_where_it_was_when_the_notebook_changes_its_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    presets = Presets()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    presets["a"] = EDITS
    assert json.loads((tmp_path / FILE).read_text())["presets"].keys() == {"a"}
