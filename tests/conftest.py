"""Fixtures: tiny real models, tokenizers and SAEs. No test fetches anything or leaves a hook."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # a test that would fetch something fails at once

import hypothesis
import pytest
import tiny
import torch
from transformers import AutoTokenizer

torch.set_num_threads(1)

# How long an example takes says how busy the machine is. Nothing is kept between runs.
hypothesis.settings.register_profile("here", deadline=None, database=None)
hypothesis.settings.load_profile("here")


@pytest.fixture(scope="session")
def tokenizer(tmp_path_factory):
    """Byte-level, as GPT-2's: one special token is beginning and end."""
    made = tiny.byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    folder = tmp_path_factory.mktemp("tokenizer")  # TransformerLens reads it from disk
    made.save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="session")
def tokenizer_without_bos():
    return tiny.byte_level(eos_token="<|endoftext|>")


@pytest.fixture(scope="session")
def sentencepiece_tokenizer():
    return tiny.sentencepiece()


@pytest.fixture(scope="session")
def model(tokenizer):
    return tiny.gpt2(tokenizer)


KINDS = {
    "params": [tiny.gpt2, tiny.llama, tiny.native, tiny.hooked],
    "ids": lambda make: make.__name__,
}


@pytest.fixture(scope="session", **KINDS)
def any_model(request, tokenizer):
    """Every kind of model that the package works with."""
    return request.param(tokenizer)


@pytest.fixture(scope="session", **KINDS)
def deep_model(request, tokenizer):
    """The same with five blocks."""
    return request.param(tokenizer, layers=5)


@pytest.fixture
def sae():
    return tiny.make_sae()


@pytest.fixture(autouse=True)
def no_hook_is_left_behind(request):
    yield
    for name in {"model", "any_model", "deep_model"} & set(request.fixturenames):
        model = request.getfixturevalue(name)
        assert not [name for name, point in model.hook_dict.items() if point.fwd_hooks]
        for module in (model.embed, model.blocks[0]):
            assert not module._forward_pre_hooks
        assert not [block for block in model.blocks if "forward" in vars(block)]
