"""Texts to train on, as contexts: runs of tokens that the model reads at once.

Every text is tokenised as a session does it, behind one beginning-of-text token if the tokenizer
has one. What is longer than a context is cut, and every part begins with that token again, so that
the model sees nothing in training that it will not see in a notebook.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sae_widgets.tokens import without_marks

AT_ONCE = 64
"""How many texts are tokenised together."""


@dataclass(frozen=True, eq=False)
class Corpus:
    """Texts as contexts of at most `context` tokens, made anew each time they are read.

    texts: strings, or records that have one in their `column` (a Hugging Face dataset, also a
    streaming one). They are read once for each pass, so an iterator will not do.
    """

    texts: Iterable[Any]
    tokenizer: Any
    context: int
    column: str = "text"
    begin: bool = True
    """Put the beginning-of-text token there, if the tokenizer has one."""

    def __post_init__(self) -> None:
        check_texts(self.texts, self.column)
        if self.context < 2:
            raise ValueError(
                f"a context of {self.context} tokens leaves no room for text behind the "
                "beginning-of-text token; 128 or more is usual"
            )

    def __iter__(self) -> Iterator[list[int]]:
        return self.part(0, 1)

    def part(self, part: int, parts: int) -> Iterator[list[int]]:
        """The contexts of every `parts`-th text, from text number `part` on."""
        bos = self.tokenizer.bos_token_id
        start = [bos] if self.begin and bos is not None else []
        room = self.context - len(start)
        strings = self._strings(part, parts)
        while some := list(islice(strings, AT_ONCE)):
            for ids in without_marks(self.tokenizer, some):
                for first in range(0, len(ids), room):
                    yield [*start, *ids[first : first + room]]

    def _strings(self, part: int, parts: int) -> Iterator[str]:
        for number, row in islice(enumerate(self.texts), part, None, parts):
            yield string_of(row, number, self.column)


def check_texts(texts: Any, column: str) -> None:
    """Raise if `texts` are not something to read texts from, again and again, or hold none."""
    if isinstance(texts, str):
        raise ValueError("this is one text; pass a list of texts, [text] if there is no other")
    if isinstance(texts, Mapping):
        raise ValueError(
            f"these are several lots of texts; choose one of {', '.join(map(repr, texts))}, "
            f"as in texts[{next(iter(texts), 'train')!r}]"
        )
    if isinstance(texts, Iterator):
        raise ValueError(
            "the texts are read once for each pass, and these can be read only once; pass a list, "
            "a dataset, or an object whose __iter__ starts anew"
        )
    if not isinstance(texts, Iterable):
        raise ValueError(
            f"{type(texts).__name__} holds no texts; pass a list of strings or a Hugging Face "
            "dataset"
        )
    columns = getattr(texts, "column_names", None)
    if columns is not None and column not in columns:
        raise ValueError(
            f"the dataset has no column {column!r}; its columns are "
            f"{', '.join(map(repr, columns))}: pass column="
        )
    rows = -1
    for rows, row in enumerate(texts):
        if string_of(row, rows, column).strip():
            return
    if rows < 0:
        raise ValueError("no texts were given, so there is nothing to train on")
    raise ValueError(f"all of the {rows + 1} texts are blank, so there is nothing to train on")


def check_size(corpus: Corpus, special: frozenset[int], batch: int) -> None:
    """Raise unless the texts fill a batch; no more of them are read than that takes."""
    found = 0
    for ids in corpus:
        found += sum(token not in special for token in ids)
        if found >= batch:
            return
    if not found:
        raise ValueError("there is nothing to train on: the texts have no token but special ones")
    raise ValueError(
        f"the texts give {found} activations in all, which do not fill one batch of {batch}: pass "
        "more texts, or a Recipe with a smaller batch"
    )


def string_of(row: Any, number: int, column: str) -> str:
    """The text in one row of a corpus."""
    if isinstance(row, Mapping):
        if column not in row:
            raise ValueError(
                f"record {number} has no {column!r}; it has {', '.join(map(repr, row))}: "
                "pass column="
            )
        row = row[column]
    if not isinstance(row, str):
        raise ValueError(f"text number {number} is no string but {type(row).__name__}: {row!r:.80}")
    return row
