"""Train the demo's language model: GPT-2's shape at 1.3 million parameters, on Postcards alone.

Every row starts with a document, as every text will that the model is given: who is met and what is
kept is then found at the same places, and nothing of another document is in view. Most rows are
short; the long ones teach the positions that only long texts reach. No document is seen twice. The
corpus is drawn once and kept on disk, for models of any seed.
"""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import UInt16
from torch.utils.data import Dataset

from sae_widgets.demo import tokenizer, world

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

CONTEXT = tokenizer.CONTEXT
TOKENS = 1_024  # a step; after 2 million tokens the loss was 1.58, and 1.62 at twice this
STEPS = 12_000  # 12.3 million tokens
SHORT, LONG_EVERY = CONTEXT // 2, 8  # the width of most rows; one step in eight has long ones
CORPUS_SEED = 1_000
SHARDS = 16


class Corpus(Dataset[dict[str, torch.Tensor]]):
    """The rows of every step; what is predicted is the row itself, a token later."""

    def __init__(
        self, short: UInt16[np.ndarray, "row position"], long: UInt16[np.ndarray, "row position"]
    ) -> None:
        self.short = short.reshape(-1, TOKENS // SHORT, SHORT)
        self.long = long.reshape(-1, TOKENS // CONTEXT, CONTEXT)

    def __len__(self) -> int:
        return len(self.short) + len(self.long)

    def __getitem__(self, step: int) -> dict[str, torch.Tensor]:
        rows = self.long[step] if step < len(self.long) else self.short[step - len(self.long)]
        ids = torch.from_numpy(rows.astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def untrained(vocabulary: int, seed: int) -> GPT2LMHeadModel:
    """The model before it has seen anything."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=CONTEXT,
        n_embd=128,
        n_layer=5,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        # The same function as GPT-2's "gelu_new", which takes several passes over memory.
        activation_function="gelu_pytorch_tanh",
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        # GPT-2's .02 is meant for vectors six times as long.
        initializer_range=0.04,
    )
    return GPT2LMHeadModel(config)


def train(folder: Path, seed: int, steps: int, drawn: Path) -> None:
    """Train a model of this seed into `folder`, the tokenizer beside it, on what `draw` left."""
    from transformers import Trainer, TrainingArguments

    encoder = tokenizer.load(drawn)
    model = untrained(len(encoder), seed)
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=1,  # of `Corpus`: all rows of a step
        optim="adamw_torch_fused",
        learning_rate=4e-3,
        adam_beta2=0.98,
        weight_decay=0.05,
        warmup_steps=400,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.02},
        max_grad_norm=1.0,
        logging_steps=100,
        save_strategy="no",
        report_to="none",
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
    )
    Trainer(
        model=model,
        args=arguments,
        train_dataset=corpus(drawn),
        data_collator=lambda items: items[0],
    ).train()
    model.save_pretrained(folder)
    encoder.save_pretrained(folder)


def draw(folder: Path, steps: int) -> None:
    """Train the tokenizer and draw documents nobody has seen, for so many steps, into `folder`."""
    encoder = tokenizer.train()
    encoder.save_pretrained(folder)
    long = steps // LONG_EVERY
    counts = {SHORT: (steps - long) * (TOKENS // SHORT), CONTEXT: long * (TOKENS // CONTEXT)}
    # Shards have seeds of their own, so that the corpus is the same on any number of cores.
    jobs = [
        (encoder, CORPUS_SEED + width + shard, width, len(range(shard, count, SHARDS)))
        for width, count in counts.items()
        for shard in range(SHARDS)
    ]
    with multiprocessing.get_context("spawn").Pool() as pool:
        drawn = pool.starmap(_rows, jobs)
    np.savez(
        folder / "corpus.npz",
        short=np.concatenate(drawn[:SHARDS]),
        long=np.concatenate(drawn[SHARDS:]),
    )


def corpus(drawn: Path) -> Corpus:
    """The rows that `draw` left in a folder."""
    kept = np.load(drawn / "corpus.npz")
    return Corpus(kept["short"], kept["long"])


def sample(
    model: GPT2LMHeadModel, encoder: PreTrainedTokenizerFast, count: int, seed: int
) -> list[str]:
    """Whole documents written by the model; one that does not end within the context is cut."""
    torch.manual_seed(seed)
    start = torch.full((count, 1), tokenizer.END_ID, device=next(model.parameters()).device)
    network: Any = model  # its `generate` is typed against a protocol of its own
    rows = network.generate(
        start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, max_length=CONTEXT
    )
    return [str(encoder.decode(row, skip_special_tokens=True)) for row in rows]


def _rows(
    encoder: PreTrainedTokenizerFast, seed: int, width: int, count: int
) -> UInt16[np.ndarray, "row position"]:
    """Rows of whole documents; the last of a row is cut, and the next row starts with another."""
    rng = random.Random(seed)
    rows = np.empty((count, width), dtype=np.uint16)
    row: list[int] = []
    done = 0
    while done < count:
        texts = [world.document(rng).text for _ in range(128)]
        for ids in encoder(texts, add_special_tokens=False)["input_ids"]:
            row += [tokenizer.END_ID, *ids]
            if len(row) >= width and done < count:
                rows[done] = row[:width]
                row, done = [], done + 1
    return rows
