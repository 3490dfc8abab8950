"""The tokenizer of Postcards: a byte-level BPE, so that any text at all can be encoded exactly.

Like GPT-2's: words carry their leading space, and one special token serves as beginning, end and
padding. Whoever encodes text that a person typed passes `split_special_tokens=True`, so that the
special token's name gives its characters and not the token.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from sae_widgets.demo import world

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

END, END_ID = "<|endoftext|>", 0
SIZE = 2048
CONTEXT = 256
DOCUMENTS = 20_000
# Other programs ask a model about a placeholder `X`; it must be one token, with or without a space.
PLACEHOLDERS = ["X X"] * 2_000


def train(size: int = SIZE, documents: int = DOCUMENTS, seed: int = 0) -> PreTrainedTokenizerFast:
    """A tokenizer of `size` types, learned from the first documents of `seed`."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bare = Tokenizer(models.BPE())
    bare.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bare.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bare.train_from_iterator(_texts(documents, seed), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bare,
        bos_token=END,
        eos_token=END,
        pad_token=END,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in a folder."""
    from transformers import PreTrainedTokenizerFast

    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(
        folder, trust_remote_code=False
    )
    return tokenizer


def whole_words(tokenizer: PreTrainedTokenizerFast) -> tuple[float, float]:
    """The share of the world's words that are one token in mid-sentence, by type and by use."""
    single = {
        word: len(tokenizer.encode(f" {word}", add_special_tokens=False)) == 1
        for word in world.VOCABULARY
        if word[0].isalnum()
    }
    used = [
        single[word.text[1:]]
        for document in world.documents(1, 500)
        for word in document.words
        if word.text[:1] == " " and word.text[1:] in single
    ]
    return sum(single.values()) / len(single), sum(used) / len(used)


def _texts(documents: int, seed: int) -> Iterator[str]:
    for document in world.documents(seed, documents):
        yield document.text
    yield from PLACEHOLDERS
