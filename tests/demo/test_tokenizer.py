"""The tokenizer takes any text and gives it back; labels land on its tokens."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_widgets.demo import parse, tokenizer, world


@pytest.fixture(scope="module")
def small() -> Any:
    return tokenizer.train(size=700, documents=300)


def test_any_text_comes_back(small: Any) -> None:
    @settings(max_examples=200)
    @given(st.text())
    def check(text: str) -> None:
        ids = small.encode(text, add_special_tokens=False, split_special_tokens=True)
        assert small.decode(ids) == text

    check()


def test_one_special_token_begins_ends_and_pads(small: Any) -> None:
    assert small.bos_token_id == small.eos_token_id == small.pad_token_id == tokenizer.END_ID == 0
    assert small.convert_ids_to_tokens([0]) == [tokenizer.END]
    assert small.encode("") == []


def test_typing_the_special_token_gives_its_characters(small: Any) -> None:
    ids = small.encode(tokenizer.END, split_special_tokens=True)
    assert 0 not in ids
    assert small.decode(ids) == tokenizer.END
    assert small.encode(tokenizer.END) == [0]  # for who does not ask, as in GPT-2


@pytest.mark.parametrize("text", ["X", " X"])
def test_the_placeholder_is_one_token(small: Any, text: str) -> None:
    assert len(small.encode(text)) == 1


def test_it_is_loaded_from_a_folder_as_it_was(small: Any, tmp_path: Path) -> None:
    small.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").exists()
    again = tokenizer.load(tmp_path)
    text = next(world.documents(1, 1)).text
    assert again.encode(text) == small.encode(text)
    assert again.model_max_length == tokenizer.CONTEXT


def test_training_twice_gives_the_same_tokenizer(small: Any) -> None:
    again = tokenizer.train(size=700, documents=300)
    assert again.get_vocab() == small.get_vocab()


def test_tokens_carry_the_labels_of_their_words_and_their_sentence(small: Any) -> None:
    for document in world.documents(2, 12):
        ids, labels, sentence = parse.token_labels(document, small)
        assert small.decode(ids) == document.text
        assert len(ids) == len(labels) == len(sentence)
        assert sentence == sorted(sentence)
        assert set(sentence) == set(range(len(document.states)))
        assert set().union(*labels) <= set(world.CONCEPTS)
        for found, place in zip(labels, sentence, strict=True):
            state = document.states[place]
            axes = ("topic", "mood", "register", "tense", "person")
            truth = {f"{axis}:{getattr(state, axis)}" for axis in axes}
            assert truth == {label for label in found if label.split(":")[0] in axes}


def test_a_word_of_several_tokens_labels_them_all(small: Any) -> None:
    words = tuple(
        world.Word(text, frozenset(labels))
        for text, labels in (("Thankfully", ["adverb"]), (" é", ["noun"]), (".", ["punctuation"]))
    )
    state = world.State("sea", "pos", "plain", "past", "first")
    ids, labels, sentence = parse.token_labels(world.Document(words, (0, 0, 0), (state,)), small)
    assert [small.decode([i]) for i in ids][-1] == "."
    classes = [found & {"adverb", "noun", "punctuation"} for found in labels]
    assert classes.count({"adverb"}) == len(small.encode("Thankfully")) > 1
    assert classes.count({"noun"}) == len(small.encode(" é"))
    assert classes[-1] == {"punctuation"}
    assert set(sentence) == {0}
