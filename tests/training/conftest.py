"""A random model of two layers, d_model 8, two heads, and twenty words of which 0 is special."""

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from sae_widgets.model import load_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    torch.set_num_threads(1)
    torch.manual_seed(3)
    config = GPT2Config(vocab_size=20, n_positions=32, n_embd=8, n_layer=2, n_head=2)
    config.bos_token_id = config.eos_token_id = 0
    config.initializer_range = 0.5  # so that layers and positions differ visibly
    words = {"<s>": 0, **{chr(ord("a") + n): n + 1 for n in range(19)}}
    bare = Tokenizer(models.WordLevel(words, unk_token="<s>"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>")
    folder = tmp_path_factory.mktemp("model")  # TransformerLens reads the tokenizer from disk
    tokenizer.save_pretrained(folder)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def model(model_folder):
    return load_model(model_folder)
