"""Texts become contexts as a session reads them, and what is no text is refused."""

import pytest
from datasets import Dataset, DatasetDict

from sae_widgets.tokens import encode
from sae_widgets.training.corpus import Corpus, check_texts


@pytest.fixture
def words(model):
    return model.tokenizer


class Anew:
    """Texts that are made each time they are read."""

    def __init__(self, rows):
        self.rows = rows

    def __iter__(self):
        yield from self.rows


def test_a_short_text_is_read_as_a_session_reads_it(words):
    assert list(Corpus(["b a d"], words, 8)) == [encode(words, "b a d", limit=8).ids]
    assert list(Corpus(["b a d"], words, 8)) == [[0, 2, 1, 4]]


def test_a_long_text_is_cut_and_every_part_has_a_beginning(words):
    assert list(Corpus(["a b c d e", "f"], words, 3)) == [[0, 1, 2], [0, 3, 4], [0, 5], [0, 6]]


def test_a_text_without_tokens_gives_no_context(words):
    assert list(Corpus(["", "c"], words, 8)) == [[0, 3]]


def test_a_tokenizer_without_a_beginning_puts_none(tokenizer_without_bos):
    (ids,) = Corpus(["the sea"], tokenizer_without_bos, 20)
    assert ids == tokenizer_without_bos("the sea")["input_ids"]


def test_parts_deal_out_the_texts(words):
    corpus = Corpus(["a", "b", "c", "d", "e"], words, 8)
    assert list(corpus.part(1, 2)) == [[0, 2], [0, 4]]
    assert list(corpus.part(0, 2)) == [[0, 1], [0, 3], [0, 5]]


def test_more_texts_than_are_tokenised_together_keep_their_order(words):
    texts = [chr(ord("a") + n % 19) for n in range(150)]
    assert [ids[1] for ids in Corpus(texts, words, 8)] == [1 + n % 19 for n in range(150)]


@pytest.mark.parametrize("streaming", [False, True])
def test_a_column_of_a_dataset_is_read(words, streaming):
    dataset = Dataset.from_dict({"id": [7, 8], "story": ["a b", "c"]})
    rows = dataset.to_iterable_dataset() if streaming else dataset
    corpus = Corpus(rows, words, 8, column="story")
    assert list(corpus) == list(corpus) == [[0, 1, 2], [0, 3]]


def test_texts_that_are_made_anew_are_read_twice(words):
    corpus = Corpus(Anew(["a", "b"]), words, 8)
    assert list(corpus) == list(corpus) == [[0, 1], [0, 2]]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ("a b", r"this is one text; pass a list of texts"),
        (iter(["a"]), "can be read only once; pass a list, a dataset"),
        ([], "no texts were given"),
        (Anew([]), "no texts were given"),
        (Anew(["", " \n"]), "all of the 2 texts are blank"),
        (Anew([{"story": "a"}]), "record 0 has no 'text'; it has 'story'"),
        (7, "int holds no texts"),
        ({"train": ["a"], "test": ["b"]}, r"choose one of 'train', 'test', as in texts\['train'\]"),
        (Dataset.from_dict({"story": ["a"]}), "no column 'text'; its columns are 'story'"),
        (DatasetDict(train=Dataset.from_dict({"text": ["a"]})), "choose one of 'train'"),
    ],
    ids=[
        "string",
        "iterator",
        "empty",
        "none",
        "blank",
        "records",
        "number",
        "dict",
        "column",
        "splits",
    ],
)
def test_what_is_no_corpus_is_refused_before_it_is_read(texts, message):
    with pytest.raises(ValueError, match=message):
        check_texts(texts, "text")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["a", None], "text number 1 is no string but NoneType"),
        ([{"story": "a"}], "record 0 has no 'text'; it has 'story': pass column="),
        ([{"text": 3}], "text number 0 is no string but int: 3"),
    ],
)
def test_a_row_that_is_no_text_is_refused_with_its_number(words, rows, message):
    with pytest.raises(ValueError, match=message):
        list(Corpus(rows, words, 8))


def test_a_context_without_room_is_refused(words):
    with pytest.raises(ValueError, match="context of 1 tokens leaves no room"):
        Corpus(["a"], words, 1)
