"""Train the demo's language model: GPT-2's shape at 1.1 million parameters, on Postcards alone.

Rows of 256 tokens are cut from documents laid end to end, each behind the special token, and no
document is seen twice. `Corpus` draws them once and keeps them on disk.
"""

from __future__ import annotations

import multiprocessing
import random
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt16
from torch.utils.data import Dataset

from sae_widgets.demo import tokenizer, world

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel, PreTrainedTokenizerFast

CONTEXT = tokenizer.CONTEXT
ROWS = 32  # rows of a step
STEPS = 1_400  # 11.5 million tokens
CORPUS_SEED = 1_000


class Corpus(Dataset[dict[str, torch.Tensor]]):
    """Rows of token ids; what is predicted is the row itself, a token later."""

    def __init__(self, ids: UInt16[np.ndarray, "row position"]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, row: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self.ids[row].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def untrained(vocabulary: int, seed: int) -> GPT2LMHeadModel:
    """The model before it has seen anything."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=CONTEXT,
        n_embd=128,
        n_layer=4,
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
        attn_implementation="sdpa",
    )
    return GPT2LMHeadModel(config)


def train(folder: Path, seed: int, steps: int = STEPS, cache: Path | None = None) -> None:
    """Train a model of this seed into `folder`, the tokenizer beside it."""
    from transformers import Trainer, TrainingArguments

    cache = cache or folder
    if not (cache / "tokenizer.json").exists():
        tokenizer.train().save_pretrained(cache)
    encoder = tokenizer.load(cache)
    rows = corpus(encoder, steps * ROWS, cache)
    model = untrained(len(encoder), seed)
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        max_steps=steps,
        per_device_train_batch_size=ROWS,
        learning_rate=3e-3,
        adam_beta2=0.98,
        weight_decay=0.05,
        warmup_steps=100,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.02},
        max_grad_norm=1.0,
        logging_steps=50,
        save_strategy="no",
        report_to="none",
        seed=seed,
        use_cpu=not torch.cuda.is_available(),
    )
    Trainer(model=model, args=arguments, train_dataset=Corpus(rows)).train()
    model.eval()
    model.save_pretrained(folder)
    encoder.save_pretrained(folder)


def corpus(
    encoder: PreTrainedTokenizerFast, rows: int, cache: Path
) -> UInt16[np.ndarray, "row position"]:
    """At least `rows` rows of documents nobody has seen, drawn once and kept in `cache`."""
    path = cache / f"corpus_{rows}.npy"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        shards = max(1, rows // 1_000)
        jobs = [(encoder, CORPUS_SEED + i, -(-rows // shards)) for i in range(shards)]
        with multiprocessing.get_context("spawn").Pool() as pool:
            ids = np.concatenate(pool.starmap(_rows, jobs))[:rows]
        np.save(path, ids)
    return np.load(path)


def sample(
    model: GPT2LMHeadModel, encoder: PreTrainedTokenizerFast, count: int, seed: int
) -> list[str]:
    """Whole documents written by the model; one that does not end within the context is cut."""
    torch.manual_seed(seed)
    start = torch.full((count, 1), tokenizer.END_ID, device=next(model.parameters()).device)
    rows = model.generate(  # type: ignore[operator]
        start, attention_mask=torch.ones_like(start), do_sample=True, top_k=0, max_length=CONTEXT
    )
    return [str(encoder.decode(row, skip_special_tokens=True)) for row in rows]


def _rows(
    encoder: PreTrainedTokenizerFast, seed: int, count: int
) -> UInt16[np.ndarray, "row position"]:
    rng = random.Random(seed)
    ids: list[int] = []
    while len(ids) < count * CONTEXT:
        texts = [world.document(rng).text for _ in range(256)]
        for encoded in encoder(texts, add_special_tokens=False)["input_ids"]:
            ids += [tokenizer.END_ID, *encoded]
    return np.array(ids[: count * CONTEXT], dtype=np.uint16).reshape(count, CONTEXT)
