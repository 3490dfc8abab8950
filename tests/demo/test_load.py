"""The demo's loader, on a demo of its own making."""

import hashlib
import json

import pytest
import tiny
import torch
from transformers import GPT2LMHeadModel

import sae_widgets as sw


@pytest.fixture
def folder(tmp_path, tokenizer):
    """Everything that ships, in small."""
    torch.manual_seed(0)
    config = tiny.gpt2(tokenizer).original_model.config
    GPT2LMHeadModel(config).half().save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    for name in ("real", "random"):
        sw.save_sae(tiny.make_sae(name=name), tmp_path / "saes" / name, dtype=torch.float16)
    labels = {"real": {"5": {"label": "the sea", "concept": "sea", "strength": 0.6}}}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    files = {
        path.relative_to(tmp_path).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    manifest = {"saes": ["real", "random"], "files": files}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    return tmp_path


def test_a_demo_loads_whole(folder):
    session = sw.load_demo(folder)
    assert repr(session) == "Session('postcards', saes=['real', 'random'])"
    assert session.labels == {"real": {5: "the sea"}, "random": {}}
    assert session.sae.W_dec.dtype == torch.float32
    run = session.generate("the sea", [sw.Add(5, 0.6)], max_new_tokens=3)
    assert run.model["name"] == "postcards"
    assert run.hook_calls["prefill"] == 1


@pytest.mark.parametrize("name", ["model/model.safetensors", "labels.json"])
def test_a_file_that_changed_is_refused(folder, name):
    path = folder / name
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match=r"not the file that was made.*sae_widgets\.demo\.train"):
        sw.load_demo(folder)


def test_what_is_missing_is_named(folder, tmp_path_factory):
    (folder / "saes/random/stats.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"stats\.safetensors of the demo is missing"):
        sw.load_demo(folder)
    with pytest.raises(FileNotFoundError, match=r"manifest\.json is missing.*demo\.train"):
        sw.load_demo(tmp_path_factory.mktemp("empty"))


def test_a_manifest_that_is_cut_short_is_named(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text()[:50])
    with pytest.raises(ValueError, match=r"manifest\.json is corrupt or truncated"):
        sw.load_demo(folder)
