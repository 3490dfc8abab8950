"""Makers of tiny real models, tokenizers and SAEs: nothing is fetched."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from sae_widgets.model import load_model
from sae_widgets.sae import SAE, Stats

CONTEXT = 48
HOOK = "blocks.1.hook_resid_post"
SOME_TEXT = ["the sea and the ship and the storm", "a theory of the other three things"]


# Tokenizers


def byte_level(**special):
    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bare.train_from_iterator(SOME_TEXT, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=bare, **special)


CHAT = """\
{{ bos_token }}{% for message in messages %}\
{% if message['role'] not in ('user', 'assistant') %}{{ raise_exception('no ' + message['role']) }}\
{% endif %}<|im_start|>{{ message['role'] }}
{{ message['content'] }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def chatting():
    """Byte-level, with marks for turns and a template that knows users and assistants."""
    made = byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    made.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    made.chat_template = CHAT
    return made


def sentencepiece():
    """As Llama 2's: spaces as `▁`, one put in front, unknown characters as bytes."""
    marks = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    letters = ["▁", *"theasonc", "th", "the", "▁the", "▁a"]
    vocabulary = {token: index for index, token in enumerate([*marks, *bytes_, *letters])}
    merges = [("t", "h"), ("th", "e"), ("▁", "the"), ("▁", "a")]
    bare = Tokenizer(
        models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, ignore_merges=False)
    )
    bare.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    bare.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bare, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def gapped():
    """Ids 0 to 6, and 40 and 41; 41 is the end."""
    words = {"<s>": 0, "the": 1, "sea": 2, "and": 3, "a": 4, "ship": 5, "in": 6, "storm": 40}
    bare = Tokenizer(models.WordLevel({**words, "</s>": 41}, unk_token="the"))
    bare.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>")


# Models: two layers or as many as asked for, random


def gpt2(tokenizer, context=CONTEXT, layers=2):
    return load_model(gpt2_network(tokenizer, context, layers), tokenizer)


def gpt2_network(tokenizer, context=CONTEXT, layers=2, vocabulary=None):
    torch.manual_seed(1)
    config = GPT2Config(
        vocab_size=vocabulary or len(tokenizer),
        n_positions=context,
        n_embd=16,
        n_layer=layers,
        n_head=2,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.5,  # else every continuation is the same token over and over
    )
    return GPT2LMHeadModel(config)


def llama(tokenizer, layers=2, head_dim=4):
    torch.manual_seed(2)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=head_dim,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.5,
    )
    return load_model(LlamaForCausalLM(config), tokenizer)


def native(tokenizer, layers=2):
    """TransformerLens's own small model, which has no key-value cache."""
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    config = TransformerBridgeConfig(
        d_model=16,
        d_head=8,
        n_heads=2,
        n_layers=layers,
        n_ctx=CONTEXT,
        d_vocab=len(tokenizer),
        d_mlp=24,
        act_fn="gelu",
        normalization_type="LN",
        seed=3,
    )
    return TransformerBridge.boot_native(config, tokenizer=tokenizer).eval()


def hooked(tokenizer, layers=2):
    """The HookedTransformer of TransformerLens 3."""
    try:
        from transformer_lens import HookedTransformer, HookedTransformerConfig
    except ImportError:
        pytest.skip("TransformerLens 4 has no HookedTransformer")
    config = HookedTransformerConfig(
        d_model=16,
        d_head=8,
        n_heads=2,
        n_layers=layers,
        n_ctx=CONTEXT,
        d_vocab=len(tokenizer),
        d_mlp=24,
        act_fn="gelu",
        seed=4,
    )
    with pytest.warns(DeprecationWarning, match="HookedTransformer is deprecated"):
        return HookedTransformer(config, tokenizer=tokenizer).eval()


# SAEs


def make_sae(hook=HOOK, d_model=16, name="signed"):
    """Feature f is axis f, feature d_model + f the same axis backwards: nothing is lost.

    Its biases cancel out, so that code which forgets one is found out.
    """
    sae = SAE(d_model, 2 * d_model, hook, name=name)
    axes = torch.eye(d_model)
    with torch.no_grad():
        sae.W_dec.copy_(torch.cat([axes, -axes]))
        sae.W_enc.copy_(sae.W_dec.T)
        sae.b_dec.copy_(torch.linspace(-0.3, 0.5, d_model))
    peak = torch.linspace(1.0, 4.1, 2 * d_model)
    sae.stats = Stats(
        peak=peak,
        density=torch.full((2 * d_model,), 0.5),
        mean=peak / 3,
        histogram=torch.arange(2 * d_model * 32).reshape(-1, 32),
        norm=3.0,
        tokens=1000,
    )
    return sae.requires_grad_(False)


def ids_of(*tokens):
    return torch.tensor([tokens])
