"""Texts from files and folders, and what is said of those that are none."""

import json

import pytest
from datasets import Dataset, DatasetDict, disable_progress_bars

from sae_widgets.training.corpus import Corpus
from sae_widgets.training.texts import open_texts

disable_progress_bars()


def held(address, **options):
    texts = open_texts(str(address), **options)
    assert list(texts) == list(texts), "they cannot be read twice"
    return list(texts)


def test_empty_lines_part_texts(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\none\nstill one\n \n\n\ntwo\n\n")
    assert held(path) == ["one\nstill one", "two"]


def test_without_empty_lines_every_line_is_a_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one\ntwo\n\n")
    assert held(path) == ["one", "two"]
    path.write_text("one\ntwo")
    assert held(path) == ["one", "two"]


def test_empty_lines_before_the_first_text_part_nothing(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n\na\nb\nc\n")
    assert list(open_texts(str(path))) == ["a", "b", "c"]


def test_a_line_of_json_is_a_record_or_a_string(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"story": "one"}\n\n"two"\n')
    assert held(path) == [{"story": "one"}, "two"]
    path.write_text('"one"\n{"story": \n')
    with pytest.raises(ValueError, match=r"a\.jsonl, line 2 is no JSON"):
        list(open_texts(str(path)))


def test_a_dataset_that_was_saved_is_read_by_its_split(tmp_path):
    one, two = (Dataset.from_dict({"text": [word]}) for word in ("one", "two"))
    one.save_to_disk(tmp_path / "single")
    DatasetDict(train=one, test=two).save_to_disk(tmp_path / "both")
    assert held(tmp_path / "single") == [{"text": "one"}]
    assert held(tmp_path / "both", split="test") == [{"text": "two"}]
    with pytest.raises(ValueError, match="no split 'valid'; it has train, test"):
        open_texts(str(tmp_path / "both"), split="valid")


def test_a_folder_of_tables_is_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "train.json").write_text(json.dumps({"text": "one"}) + "\n")
    assert held(tmp_path / "tables") == [{"text": "one"}]


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "weights.bin").write_bytes(b"abc\xff\xfe")
    with pytest.raises(ValueError, match=r"weights\.bin is no text in UTF-8 .* at byte 3"):
        list(open_texts(str(tmp_path / "weights.bin")))
    with pytest.raises(ValueError, match="cannot be read as a file, a folder or a dataset's name"):
        open_texts(str(tmp_path / "missing"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="cannot be read as a folder of a dataset"):
        open_texts(str(tmp_path / "empty"))


def test_they_are_what_a_corpus_takes(tmp_path, model):
    path = tmp_path / "a.txt"
    path.write_text("a b c\nd e\n")
    assert [len(ids) for ids in Corpus(open_texts(str(path)), model.tokenizer, 16)] == [4, 3]
