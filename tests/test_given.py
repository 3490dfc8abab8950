"""Model objects of other people: any kind, in any state, wrapped or not, and left whole."""

import pytest
import tiny
import torch
import transformers as hf

import sae_widgets as sw
from sae_widgets.model import activations, begins, identity, load_model

IDS = torch.tensor([[0, 30, 41, 52, 33]])
ALIKE = {
    "vocab_size": 280,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": tiny.CONTEXT,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "initializer_range": 0.5,
}
KINDS = {
    "Olmo2ForCausalLM": ("Olmo2Config", {}),
    "Gemma3ForCausalLM": ("Gemma3TextConfig", {"head_dim": 4}),
    "FalconForCausalLM": ("FalconConfig", {"ffn_hidden_size": 24}),
    "GraniteForCausalLM": ("GraniteConfig", {}),
    "CohereForCausalLM": ("CohereConfig", {}),
    "GptOssForCausalLM": (
        "GptOssConfig",
        {"head_dim": 4, "num_local_experts": 2, "num_experts_per_tok": 1},
    ),
    "Qwen3ForCausalLM": ("Qwen3Config", {"head_dim": 4}),
    "Phi3ForCausalLM": ("Phi3Config", {}),
}


def network(name="Olmo2ForCausalLM"):
    """As it comes from a configuration: in training mode, and it does not say what it is."""
    torch.manual_seed(4)
    config, more = KINDS[name]
    return getattr(hf, name)(getattr(hf, config)(**ALIKE | more))


def logits(net):
    was = net.training
    with torch.no_grad():
        found = net.eval()(IDS).logits
    net.train(was)
    return found


@pytest.fixture(scope="module")
def words():
    return tiny.byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>")


@pytest.mark.parametrize("name", KINDS)
def test_a_model_made_from_a_configuration_is_taken_and_left_whole(name, words, tmp_path):
    given = network(name)
    before, kept = logits(given), {n: x.clone() for n, x in given.state_dict().items()}
    model = load_model(given, words)
    torch.testing.assert_close(logits(model.original_model), before, atol=1e-4, rtol=1e-4)
    run = sw.Session(model, tiny.make_sae(), sample=None).generate("the", max_new_tokens=3)
    assert len(run.tokens[0]) == 3
    assert given.training
    assert not model.original_model.training
    assert given.config.architectures is None
    assert list(given.state_dict()) == list(kept)
    assert all(torch.equal(x, kept[n]) for n, x in given.state_dict().items())
    given.save_pretrained(tmp_path)
    again = type(given).from_pretrained(tmp_path)
    torch.testing.assert_close(logits(again), before, atol=1e-5, rtol=1e-5)


def test_the_weights_are_not_held_twice(words):
    given = network()
    model = load_model(given, words)
    theirs = {x.data_ptr() for x in given.parameters()}
    assert {x.data_ptr() for x in model.original_model.parameters()} == theirs


def test_what_becomes_of_the_one_does_not_become_of_the_other(words):
    given = network()
    model = load_model(given, words)
    expected = logits(model.original_model)
    given.double().train()
    with torch.no_grad():
        torch.testing.assert_close(model.original_model(IDS).logits, expected)
    assert identity(model)["dtype"] == "float32"


def test_a_model_of_a_class_of_one_s_own_is_what_it_comes_from(words):
    class Mine(hf.Olmo2ForCausalLM):
        pass

    given = Mine(network().config)
    torch.testing.assert_close(logits(load_model(given, words).original_model), logits(given))


def test_a_model_that_is_in_a_bridge_already_is_taken_again(words):
    model = load_model(network(), words)
    again = load_model(model.original_model, words)
    assert again.original_model is model.original_model


def test_a_model_and_its_tokenizer_may_come_as_a_pair(words):
    given = network()
    model = load_model((given, words))
    torch.testing.assert_close(logits(model.original_model), logits(given))


@pytest.mark.parametrize(
    ("wrapped", "said"),
    [
        (torch.nn.DataParallel, r"this DataParallel is wrapped.*load_model\(model\.module, tok"),
        (
            lambda given: torch.compile(given, backend="eager"),
            r"this OptimizedModule is wrapped.*load_model\(model\._orig_mod, tok",
        ),
        (lambda given: given.model, "this Olmo2Model has no head.*AutoModelForCausalLM"),
        (lambda _: torch.nn.Linear(2, 2), "Linear is no model of Hugging Face's transformers"),
    ],
)
def test_what_is_no_language_model_is_refused_with_what_to_pass(words, wrapped, said):
    with pytest.raises(ValueError, match=said):
        load_model(wrapped(network()), words)


def test_adapters_of_peft_are_to_be_merged_first(words):
    class PeftModelForCausalLM(torch.nn.Module):  # what of it is seen here: it is not installed
        def merge_and_unload(self):
            raise NotImplementedError

    with pytest.raises(ValueError, match=r"load_model\(model\.merge_and_unload\(\), tokenizer"):
        load_model(PeftModelForCausalLM(), words)


def test_what_is_no_model_at_all_is_refused():
    with pytest.raises(TypeError, match=r"as in load_model\(model, tokenizer\); got dict"):
        load_model({"weight": torch.zeros(2)})


# Training mode


@pytest.mark.parametrize("which", ["bridge", "network"])
def test_a_model_put_into_training_mode_later_is_refused_and_works_again_in_eval(words, which):
    model = load_model(network(), words)
    session = sw.Session(model, tiny.make_sae(), sample=None)
    expected = session.generate("the sea", max_new_tokens=3)
    (model if which == "bridge" else model.original_model).train()
    edits = [sw.Add(3, 1.0)]
    for ask in (
        lambda: session.generate("the sea", edits, max_new_tokens=3),
        lambda: session.features("the sea"),
        lambda: session.effects("the sea", edits),
        lambda: session.side_effects("the sea", edits),
        lambda: session.likelihoods(expected),
        lambda: sw.quality(model, tiny.make_sae(), ["the sea and the ship"] * 9),
        lambda: sw.capture(model, tiny.make_sae(), [0, 30]),
        lambda: sw.train(model, ["the sea"] * 9, sw.Recipe(tiny.HOOK, batch=4, steps=2)),
    ):
        with pytest.raises(ValueError, match=r"in training mode.*call model\.eval\(\) first"):
            ask()
    model.eval()
    assert session.generate("the sea", max_new_tokens=3).tokens == expected.tokens


# Tokenizers


def own_bridge(words):
    """As people make one themselves."""
    from transformer_lens.model_bridge import TransformerBridge

    given = network()
    given.config.architectures = ["Olmo2ForCausalLM"]
    return TransformerBridge.boot_transformers(
        "mine", hf_model=given, tokenizer=words, device="cpu"
    ).eval()


def read(model):
    return sw.Session(model, tiny.make_sae(), sample=None).features("the sea").ids.tolist()


def test_without_a_beginning_a_bridge_of_one_s_own_reads_what_load_model_does(tmp_path):
    tiny.byte_level(eos_token="<|endoftext|>").save_pretrained(tmp_path)
    alone = hf.AutoTokenizer.from_pretrained(tmp_path)
    expected = alone("the sea")["input_ids"]
    loaded = load_model(network(), alone)
    assert alone.bos_token is None  # it is not changed
    assert read(loaded) == expected
    mine = own_bridge(hf.AutoTokenizer.from_pretrained(tmp_path))
    assert mine.tokenizer.bos_token == "<|endoftext|>"  # TransformerLens puts it there
    assert read(mine) == expected


def test_with_one_both_begin_with_it(tmp_path, words):
    words.save_pretrained(tmp_path)
    expected = [0, *words("the sea", add_special_tokens=False)["input_ids"]]
    assert read(load_model(network(), words)) == expected
    assert read(own_bridge(hf.AutoTokenizer.from_pretrained(tmp_path))) == expected


def test_a_beginning_that_was_chosen_by_hand_is_one():
    by_hand = tiny.byte_level(eos_token="<|endoftext|>")
    by_hand.bos_token = by_hand.eos_token
    assert read(load_model(network(), by_hand))[0] == 0


def test_who_says_that_texts_have_no_beginning_is_heard(words):
    model = load_model(network(), words)
    plain = words("the sea", add_special_tokens=False)["input_ids"]
    assert begins(model)
    model.cfg.default_prepend_bos = False
    assert read(model) == plain
    session = sw.Session(model, tiny.make_sae())
    assert list(session.generate("the sea", max_new_tokens=1).ids) == plain
    texts = ["the sea and the ship and the storm"] * 20
    recipe = sw.Recipe(tiny.HOOK, batch=16, steps=2, context=8, buffer=64)
    sae = sw.train(model, texts, recipe, progress=False)
    contexts = torch.tensor([words(texts[0], add_special_tokens=False)["input_ids"][:8]])
    x = activations(model, contexts, tiny.HOOK)[0]
    assert sae.provenance["prepend_bos"] is False
    assert sae.stats.peak.max() >= sae.encode(x).max() - 1e-4


def test_tokens_that_were_added_to_a_tokenizer_in_memory_are_kept(tmp_path, words):
    words.save_pretrained(tmp_path)
    mine = hf.AutoTokenizer.from_pretrained(tmp_path)
    mine.add_tokens(["wave"])
    given = network()
    given.resize_token_embeddings(len(mine))
    model = load_model(given, mine)
    assert read_text(model, "wave") == [0, 280]
    assert model.tokenizer.name_or_path == str(tmp_path)


def read_text(model, text):
    return sw.Session(model, tiny.make_sae(), sample=None).features(text).ids.tolist()


def test_a_tokenizer_with_words_beyond_the_embedding_is_refused(words):
    larger = tiny.byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    larger.add_tokens(["wave", "tide"])
    with pytest.raises(ValueError, match=r"2 tokens beyond the 280 ids.*'wave'.*another model's"):
        load_model(network(), larger)
    model = load_model(network(), words)
    model.tokenizer.add_tokens(["tide"])  # after it was loaded
    for ask in (
        lambda: sw.Session(model, tiny.make_sae()),
        lambda: sw.train(model, ["tide"] * 9, sw.Recipe(tiny.HOOK, batch=4, steps=2)),
    ):
        with pytest.raises(ValueError, match="1 token beyond the 280 ids"):
            ask()


def test_a_mark_to_pad_with_beyond_the_embedding_is_fine():
    padded = tiny.byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    padded.add_special_tokens({"pad_token": "[PAD]"})
    assert len(padded) == 281
    model = load_model(network(), padded)
    sae = sw.train(
        model,
        ["the sea and the ship [PAD]"] * 20,
        sw.Recipe(tiny.HOOK, batch=16, steps=2, buffer=64),
        progress=False,
    )
    assert sw.Session(model, sae, sample=None).generate("the", max_new_tokens=2).tokens
