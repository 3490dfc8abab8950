"""Activations to train on: a model is run only as far as its hook points.

`Rows` holds vectors in memory; `Stream` runs the model as it goes and mixes vectors in a buffer
of a fixed size, for corpora whose activations do not fit. Special tokens are left out of both:
the first position is an attention sink whose norm dwarfs every other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.utils.data import Dataset

from sae_widgets.model import Model, activations, activations_at, device_of
from sae_widgets.tokens import special_ids
from sae_widgets.training.corpus import Corpus


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
        yield kept(activations(model, ids.to(device_of(model)), hook), keep, hook)


def kept(
    x: Float[Tensor, "text ..."], keep: Bool[Tensor, "text position"], hook: str
) -> Float[Tensor, "vector d_model"]:
    """The activations that count, those of heads side by side, out of inference mode."""
    if x.shape[:2] != keep.shape:
        raise ValueError(
            f"what is found at {hook!r} has shape {tuple(x.shape)}, which is no vector for each "
            "token; blocks.N.hook_resid_post, hook_mlp_out and attn.hook_z have one"
        )
    return x.flatten(2).cpu()[keep]


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


Vectors = dict[str, Tensor]
"""By hook point, activations [vector, d] at the same tokens."""

TOKENS = 8192
"""How many tokens a stream has the model read at once."""


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
class Stream:
    """Batches of `batch` vectors without end, made while they are used.

    The texts are dealt into `shards`. Of each shard, contexts that hold `buffer / shards` vectors
    are run through the model, the vectors shuffled and all handed out before the next are made; a
    shard begins anew when its texts are used up, so that nothing is repeated while there is
    something new, and memory does not grow with the corpus. Every batch has equal shares of all
    shards. Of `world` processes, number `rank` makes its part of the shards and so of each batch:
    what a batch consists of does not depend on how many processes make it.

    `start` batches are passed over. The model is run for none but the last few of them. `check` is
    called wherever the making can stop; what it raises ends it.
    """

    model: Model
    hooks: Sequence[str]
    corpus: Corpus
    batch: int
    buffer: int
    shards: int = 1
    seed: int = 0
    rank: int = 0
    world: int = 1
    start: int = 0
    check: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        if self.batch % self.shards or self.shards % self.world:
            raise ValueError(
                f"a batch of {self.batch} vectors cannot come in equal shares from {self.shards} "
                f"shards of the texts, and these from {self.world} processes: the batch must be a "
                "multiple of the shards, and these of the processes"
            )

    def __iter__(self) -> Iterator[Vectors]:
        own = range(self.rank, self.shards, self.world)
        shares = [self._share(shard) for shard in own]
        while True:
            parts = [next(share) for share in shares]
            yield {hook: torch.cat([part[hook] for part in parts]) for hook in self.hooks}

    def sample(self, count: int) -> Vectors:
        """Vectors from the beginning of the texts, `count` or all if there are fewer."""
        held = next(self._blocks(lambda: self.corpus.part(0, 1), count), Block([]))
        return {hook: x[:count] for hook, x in self._run(held).items()}

    def _share(self, shard: int) -> Iterator[Vectors]:
        """What one shard gives to each batch."""
        size = self.batch // self.shards
        passed = self.start * size
        held: list[Vectors] = []
        missing = size
        blocks = self._blocks(
            lambda: self.corpus.part(shard, self.shards), -(-self.buffer // self.shards), anew=True
        )
        for number, block in enumerate(blocks):
            if passed >= block.vectors:
                passed -= block.vectors
                continue
            x = self._run(block)
            order = torch.randperm(block.vectors, generator=self._chance(shard, number))[passed:]
            passed = 0
            while len(order):
                taken, order = order[:missing], order[missing:]
                held.append({hook: x[hook][taken] for hook in self.hooks})
                missing -= len(taken)
                if not missing:
                    yield {hook: torch.cat([some[hook] for some in held]) for hook in self.hooks}
                    held, missing = [], size
            del x  # before the next are made

    def _blocks(
        self, contexts: Callable[[], Iterator[list[int]]], least: int, *, anew: bool = False
    ) -> Iterator[Block]:
        """Neighbouring contexts that hold `least` vectors together, or what is left of them."""
        special = special_ids(self.model.tokenizer)
        for _ in count() if anew else range(1):
            empty = True
            held, vectors = [], 0
            for ids in contexts():
                self.check()
                held.append(ids)
                vectors += sum(token not in special for token in ids)
                if vectors >= least:
                    yield Block(held, vectors)
                    empty, held, vectors = False, [], 0
            if vectors:
                yield Block(held, vectors)
            elif empty:
                raise ValueError(
                    "there is nothing to train on: the texts have no token but special ones"
                    + (f", or are fewer than the {self.shards} shards" if self.shards > 1 else "")
                )

    def _run(self, block: Block) -> Vectors:
        """The activations of a block, in no particular order."""
        special = special_ids(self.model.tokenizer)
        found: dict[str, list[Tensor]] = {hook: [] for hook in self.hooks}
        # Texts of one length together, so that few positions are computed only to be left out.
        contexts = sorted(block.contexts, key=len)
        for ids, keep in batches(contexts, max(1, TOKENS // self.corpus.context), special):
            self.check()
            seen = activations_at(self.model, ids.to(device_of(self.model)), self.hooks)
            for hook, x in seen.items():
                found[hook].append(kept(x, keep, hook))
        return {hook: torch.cat(parts) for hook, parts in found.items()}

    def _chance(self, shard: int, block: int) -> torch.Generator:
        """Random numbers of its own for every block, so that no earlier one need be made again."""
        digest = hashlib.sha256(f"{self.seed} {shard} {block}".encode()).digest()
        return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


@dataclass(frozen=True)
class Block:
    """Contexts whose activations are made at once, and of how many tokens."""

    contexts: list[list[int]]
    vectors: int = 0
