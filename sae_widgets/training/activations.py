"""Activations to train on: a model is run only as far as its hook point.

`Rows` holds vectors in memory; `Stream` runs the model as it goes and mixes vectors in a buffer
of a fixed size, for corpora whose activations do not fit. Special tokens are left out of both:
the first position is an attention sink whose norm dwarfs every other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from sae_widgets.model import Model, activations, device_of
from sae_widgets.tokens import special_ids


def vectors(
    model: Model,
    hook: str,
    texts: Iterable[Sequence[int]],
    *,
    special: frozenset[int] | None = None,
    batch: int = 64,
) -> Iterator[Float[Tensor, "vector d_model"]]:
    """Yield the activations of `texts` in order, those of `batch` texts at a time.

    Those of an attention head's hook point are laid side by side: d_model = heads * d_head.
    `special` ids are left out; None means those that the model's tokenizer calls special.
    """
    for ids, keep in batches(texts, batch, marks(model, special)):
        yield activations(model, ids.to(device_of(model)), hook).flatten(2).cpu()[keep]


def marks(model: Model, special: frozenset[int] | None) -> frozenset[int]:
    """The ids to leave out: those given, or those that the tokenizer calls special."""
    return special_ids(model.tokenizer) if special is None else special


def collect(
    model: Model,
    hook: str,
    texts: Iterable[Sequence[int]],
    *,
    special: frozenset[int] | None = None,
    batch: int = 64,
) -> Float[Tensor, "vector d_model"]:
    """All activations of `texts`, in order, in one tensor."""
    blocks = list(vectors(model, hook, texts, special=special, batch=batch))
    if not blocks:
        raise ValueError("no texts were given, so there are no activations to collect.")
    return torch.cat(blocks)


def batches(
    texts: Iterable[Sequence[int]], size: int, special: frozenset[int]
) -> Iterator[tuple[Int[Tensor, "text position"], Bool[Tensor, "text position"]]]:
    """Group neighbouring texts, `size` at a time; the mask says which positions count.

    Short texts are filled up on the right by repeating their last token. In a causal model that
    changes nothing to its left, and needs no padding token, which not every tokenizer has.
    """
    texts = iter(texts)
    while group := list(islice(texts, size)):
        if not all(group):
            raise ValueError("a text without tokens has no activations; leave it out.")
        width = max(map(len, group))
        ids = torch.tensor([[*text, *[text[-1]] * (width - len(text))] for text in group])
        inside = torch.arange(width) < torch.tensor([[len(text)] for text in group])
        ordinary = ~torch.isin(ids, torch.tensor(sorted(special), dtype=ids.dtype))
        yield ids, inside & ordinary


@runtime_checkable
class Source(Protocol):
    """A torch dataset of activations that can show some of itself first: `Rows` or `Stream`."""

    def sample(self, count: int, seed: int = 0) -> Float[Tensor, "vector d_model"]: ...


@dataclass(frozen=True, eq=False)
class Rows(Dataset[Float[Tensor, "*batch d_model"]]):
    """Activations in memory, shuffled anew each epoch by whoever reads them."""

    x: Float[Tensor, "vector d_model"]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Float[Tensor, " d_model"]:
        return self.x[index]

    def __getitems__(self, indices: list[int]) -> Float[Tensor, "vector d_model"]:
        """One gather for a whole batch: torch's loader asks for this before `__getitem__`."""
        return self.x[torch.tensor(indices)]

    def sample(self, count: int, seed: int = 0) -> Float[Tensor, "vector d_model"]:
        """`count` vectors (or all, if fewer) drawn without replacement."""
        order = torch.randperm(len(self.x), generator=torch.Generator().manual_seed(seed))
        return self.x[order[:count]]


@dataclass(frozen=True, eq=False)
class Stream(IterableDataset[Float[Tensor, " d_model"]]):
    """Activations made while they are used, mixed in a buffer of `buffer` vectors.

    The buffer is filled, shuffled, and its second half handed out before it is filled again, so
    neighbours of one text are spread over the buffer, and memory does not grow with the corpus.
    `texts` must be iterable anew for every epoch: a list, or an object that makes its texts.
    """

    model: Model
    hook: str
    texts: Iterable[Sequence[int]]
    special: frozenset[int] | None = None
    buffer: int = 200_000
    batch: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.texts, Iterator):
            raise ValueError(
                "the texts of a stream are read once for each epoch, and these can be read only "
                "once; pass a list, or an object whose __iter__ starts anew"
            )

    def __iter__(self) -> Iterator[Float[Tensor, " d_model"]]:
        generator = torch.Generator().manual_seed(self.seed)
        held: list[Tensor] = []
        size = 0
        for block in vectors(
            self.model, self.hook, self.texts, special=self.special, batch=self.batch
        ):
            held.append(block)
            size += len(block)
            if size >= self.buffer:
                mixed = shuffled(torch.cat(held), generator)
                half = len(mixed) // 2
                yield from mixed[half:]
                held, size = [mixed[:half]], half
        if size:
            yield from shuffled(torch.cat(held), generator)

    def sample(self, count: int, seed: int = 0) -> Float[Tensor, "vector d_model"]:
        """`count` vectors from the beginning of the stream."""
        held: list[Tensor] = []
        for block in vectors(
            self.model, self.hook, self.texts, special=self.special, batch=self.batch
        ):
            held.append(block)
            if sum(map(len, held)) >= count:
                break
        return shuffled(torch.cat(held), torch.Generator().manual_seed(seed))[:count]


def shuffled(
    x: Float[Tensor, "vector d_model"], generator: torch.Generator
) -> Float[Tensor, "vector d_model"]:
    """The same vectors in another order."""
    return x[torch.randperm(len(x), generator=generator)]
