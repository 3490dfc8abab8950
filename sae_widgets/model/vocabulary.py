"""What the tokenizer and the model's vocabulary are to each other."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from sae_widgets.model.bridge import Model
from sae_widgets.model.facts import vocabulary_size


def check_vocabulary(model: Model) -> None:
    """Raise if the tokenizer has words beyond the model's vocabulary.

    Special tokens may lie there: many tokenizers have got one to pad with, which no text holds.
    """
    if model.tokenizer is None:
        return
    size = vocabulary_size(model)
    beyond = _vocabulary(model.tokenizer, len(model.tokenizer), size)[1]
    if beyond:
        raise ValueError(
            f"the tokenizer has {len(beyond)} {'token' if len(beyond) == 1 else 'tokens'} beyond "
            f"the {size} ids that the model knows, such as {beyond[0]!r:.80}: it is another "
            "model's, or tokens were added to it (then "
            "model.resize_token_embeddings(len(tokenizer)) makes room, before load_model)"
        )


def begins(model: Model) -> bool:
    """Whether texts are read behind the tokenizer's beginning-of-text token, if it has one.

    Not where the model's `cfg.default_prepend_bos` is False, and not where the token is the end's
    that TransformerLens puts there in a bridge of one's own: what was trained without a beginning
    is not to be given it.
    """
    tokenizer = model.tokenizer
    if not getattr(model.cfg, "default_prepend_bos", True) or tokenizer.bos_token is None:
        return False
    known = getattr(tokenizer, "init_kwargs", {"bos_token": tokenizer.bos_token})
    return bool(known.get("bos_token")) or tokenizer.bos_token != tokenizer.eos_token


def nameless(model: Model) -> Bool[Tensor, " d_vocab"]:
    """Which ids are no tokens of the tokenizer's: vocabularies are padded, and some have gaps.

    It is remembered, so nobody may write into it.
    """
    if model.tokenizer is None:
        return torch.zeros(vocabulary_size(model), dtype=torch.bool, device="cpu")
    return _vocabulary(model.tokenizer, len(model.tokenizer), vocabulary_size(model))[0]


@lru_cache(maxsize=16)
def _vocabulary(tokenizer: Any, _length: int, size: int) -> tuple[Tensor, list[str]]:
    """Which of `size` ids are no tokens, and which words have ids beyond them.

    `_length`, which the tokenizer has now, tells when tokens were added.
    """
    known: dict[str, int] = tokenizer.get_vocab()
    found = torch.ones(size, dtype=torch.bool, device="cpu")
    found[[token for token in known.values() if token < size]] = False
    marks = {token for token, added in tokenizer.added_tokens_decoder.items() if added.special}
    beyond = {token: word for word, token in known.items() if token >= size and token not in marks}
    return found, [beyond[token] for token in sorted(beyond)]
