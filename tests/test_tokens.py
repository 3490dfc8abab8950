"""Tokens are shown byte-true, and text goes there and back unchanged."""

import pytest
import tiny
from hypothesis import given, settings
from hypothesis import strategies as st

from sae_widgets.tokens import (
    Spelling,
    encode,
    encode_chat,
    pieces,
    shown,
    special_ids,
    special_mask,
    visible,
)

ALL = ["tokenizer", "tokenizer_without_bos", "sentencepiece_tokenizer"]
# Half of a surrogate pair is no text; `▁` is how some tokenizers write a space.
CHARACTERS = {"exclude_categories": ["Cs"], "exclude_characters": "▁"}


@pytest.fixture(params=ALL)
def any_tokenizer(request):
    return request.getfixturevalue(request.param)


def texts(tokenizer, text):
    ids = encode(tokenizer, text, limit=10_000).ids
    return [piece.text for piece in pieces(tokenizer, ids)]


def shows(tokenizer, text):
    ids = encode(tokenizer, text, limit=10_000).ids
    return [piece.shown for piece in pieces(tokenizer, ids) if not piece.special]


@pytest.mark.parametrize("name", ALL)
def test_any_text_comes_back_exactly(request, name):
    tokenizer = request.getfixturevalue(name)

    @settings(max_examples=60)
    @given(st.text(st.characters(**CHARACTERS)))
    def check(text):
        assert "".join(texts(tokenizer, text)) == text

    check()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "   ",
        "\n",
        "\t x ",
        "the sea",
        " the sea",
        "😀",
        "a😀👩‍👩‍👧b",
        "<0x41>",
        "\u202eabc",
    ],
)
def test_awkward_texts_come_back_exactly(any_tokenizer, text):
    assert "".join(texts(any_tokenizer, text)) == text


def test_one_beginning_of_text_stands_in_front(tokenizer):
    bos = tokenizer.bos_token_id
    assert encode(tokenizer, "the", limit=9).ids[0] == bos
    assert encode(tokenizer, "", limit=9).ids == [bos]
    typed = encode(tokenizer, "<|endoftext|>the", limit=99).ids
    assert typed.count(bos) == 1
    assert "".join(texts(tokenizer, "<|endoftext|>the")) == "<|endoftext|>the"


def test_a_tokenizer_without_bos_is_fine(tokenizer_without_bos):
    assert encode(tokenizer_without_bos, "", limit=9).ids == []
    ids = encode(tokenizer_without_bos, "the sea", limit=9).ids
    assert not any(special_mask(tokenizer_without_bos, ids))
    assert pieces(tokenizer_without_bos, []) == []


def test_what_does_not_fit_is_cut_and_counted(tokenizer):
    whole = encode(tokenizer, "abcdefgh", limit=99)
    cut = encode(tokenizer, "abcdefgh", limit=5)
    assert whole.dropped == 0
    assert cut.ids == whole.ids[:5]
    assert cut.dropped == len(whole.ids) - 5 == 4


def test_whitespace_and_the_invisible_are_shown(tokenizer):
    assert "".join(shows(tokenizer, " a\n\tb")) == "·a↵⇥b"
    assert visible("a\u200b\xa0\r".encode()) == "a⟨U+200B⟩⟨U+00A0⟩⟨U+000D⟩"
    assert visible(b"") == "·"


def test_a_split_character_belongs_to_its_last_token_and_shows_as_bytes(tokenizer):
    ids = encode(tokenizer, "é!", limit=9).ids
    found = pieces(tokenizer, ids)[1:]
    assert [piece.text for piece in found] == ["", "é", "!"]
    assert [piece.shown for piece in found] == ["⟨c3⟩", "⟨a9⟩", "!"]
    assert [piece.part for piece in found] == [True, True, False]


def test_sentencepiece_bytes_show_like_any_other(sentencepiece_tokenizer):
    found = pieces(sentencepiece_tokenizer, encode(sentencepiece_tokenizer, "é", limit=9).ids)
    assert [piece.shown for piece in found] == ["<s>", "·", "⟨c3⟩", "⟨a9⟩"]
    assert [piece.text for piece in found] == ["", "", "", "é"]


def test_sentencepiece_keeps_the_spaces_between_words(sentencepiece_tokenizer):
    assert texts(sentencepiece_tokenizer, "the the")[1:] == ["the", " the"]
    assert shows(sentencepiece_tokenizer, "the the") == ["the", "·the"]


def test_a_character_that_is_never_completed_is_not_lost(tokenizer):
    ids = encode(tokenizer, "aé", limit=9).ids[:-1]
    assert [piece.text for piece in pieces(tokenizer, ids)] == ["", "a", "�"]
    # ... nor if a special token ends the text there
    found = pieces(tokenizer, [*ids, tokenizer.eos_token_id])
    assert [piece.text for piece in found] == ["", "a", "�", ""]


def test_text_that_streams_holds_back_incomplete_characters(tokenizer):
    ids = encode(tokenizer, "a😀b", limit=9).ids
    spelling = Spelling(tokenizer, ids[:2])
    assert [spelling.add(token).text for token in ids[2:]] == ["", "", "", "😀", "b"]
    assert spelling.rest() == ""


def test_special_tokens_add_no_text_and_show_their_name(tokenizer):
    ids = [0, *encode(tokenizer, "a", limit=9).ids]
    found = pieces(tokenizer, ids)
    assert [piece.shown for piece in found] == ["<|endoftext|>", "<|endoftext|>", "a"]
    assert [piece.special for piece in found] == [True, True, False]
    assert special_mask(tokenizer, ids) == [True, True, False]


def test_an_unknown_word_is_text_and_no_mark(sentencepiece_tokenizer):
    assert special_ids(sentencepiece_tokenizer) == {1, 2}


def test_half_a_surrogate_pair_from_a_browser_is_replaced(any_tokenizer):
    assert "".join(texts(any_tokenizer, "a\ud83d")) == "a�"
    assert "".join(texts(any_tokenizer, "\ud83d\ude00")) == "😀"


def test_one_token_alone_shows_its_space(sentencepiece_tokenizer, tokenizer):
    the = sentencepiece_tokenizer.convert_tokens_to_ids("▁the")
    assert shown(sentencepiece_tokenizer, the) == "·the"
    assert shown(tokenizer, 0) == "<|endoftext|>"


def test_other_kinds_of_tokenizer_are_read_by_what_they_decode():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.WordLevel({"<unk>": 0, "sea": 1, "ship": 2}, unk_token="<unk>"))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=bare, unk_token="<unk>")
    assert texts(words, "sea ship sea") == ["sea", " ship", " sea"]
    assert texts(words, "sea whale") == ["sea", " <unk>"]


# Chats

USER = {"role": "user", "content": "the sea"}


@pytest.fixture(scope="module")
def chatting():
    return tiny.chatting()


def written(tokenizer, *parts):
    """Ids of text, and of marks by name."""
    marks = set(tokenizer.all_special_tokens)
    return [
        token
        for part in parts
        for token in (
            [tokenizer.convert_tokens_to_ids(part)]
            if part in marks
            else encode(tokenizer, part, limit=99).ids[1:]
        )
    ]


def test_a_chat_is_written_by_its_template_up_to_where_the_assistant_speaks(chatting):
    begun = ["<|endoftext|>", "<|im_start|>", "user\nthe sea", "<|im_end|>", "\n"]
    turn = ["<|im_start|>", "assistant\n"]
    encoded = encode_chat(chatting, [USER], limit=99)
    assert encoded.ids == written(chatting, *begun, *turn)
    assert [i for i, special in enumerate(special_mask(chatting, encoded.ids)) if special] == [
        i for i, token in enumerate(encoded.ids) if token in (0, 280, 281)
    ]
    answered = [USER, {"role": "assistant", "content": "a ship"}]
    assert encode_chat(chatting, answered, limit=99).ids == written(
        chatting, *begun, *turn, "a ship"
    )
    again = encode_chat(chatting, [*answered, USER], limit=12)
    whole = written(chatting, *begun, *turn, "a ship", "<|im_end|>", "\n", *begun[1:], *turn)
    assert (again.ids, again.dropped) == (whole[:12], len(whole) - 12)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "a chat has at least one message"),
        ([USER, {"content": "a"}], r"message 1 of a chat is to be .*; got \{'content': 'a'\}"),
        ([{"role": "user", "content": ["a"]}], "message 0 of a chat is to be a dict of texts"),
        ([{"role": "user", "content": "a<|im_end|>"}], r"message 0 holds '<\|im_end\|>', which"),
        ([{"role": "pirate", "content": "a"}], "template refuses these messages: no pirate"),
    ],
)
def test_a_chat_that_cannot_be_written_says_why(chatting, messages, message):
    with pytest.raises(ValueError, match=message):
        encode_chat(chatting, messages, limit=99)


def test_a_tokenizer_without_a_chat_template_says_so(tokenizer):
    with pytest.raises(ValueError, match="has no chat template, so it does not know how a chat"):
        encode_chat(tokenizer, [USER], limit=99)


def test_tokens_that_are_added_or_made_special_later_are_noticed():
    tokenizer = tiny.byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    new, old = len(tokenizer), tokenizer.convert_tokens_to_ids("the")
    assert special_ids(tokenizer) == {0}
    assert shown(tokenizer, new) == f"⟨id {new}⟩"
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|turn|>"]})
    assert special_ids(tokenizer) == {0, new}
    assert shown(tokenizer, new) == "<|turn|>"
    tokenizer.add_tokens(["wave"])
    assert shown(tokenizer, new + 1) == "wave"
    tokenizer.pad_token = "the"
    assert special_ids(tokenizer) == {0, new, old}
    tokenizer.pad_token = None
    assert special_ids(tokenizer) == {0, new}
