"""Activations come from the hook alone, in order, without special tokens or fillers."""

from itertools import islice

import pytest
import torch

from sae_widgets.model import activations
from sae_widgets.training.activations import Rows, Stream, collect, vectors
from sae_widgets.training.corpus import Corpus

HOOK = "blocks.0.hook_resid_post"
SPECIAL = frozenset({0})


def test_short_texts_are_filled_up_without_changing_a_number(model):
    texts = [[0, 3, 5, 2], [0, 4], [0, 9, 8]]
    together = collect(model, HOOK, texts, special=SPECIAL)
    alone = torch.cat([activations(model, torch.tensor([t]), HOOK)[0, 1:] for t in texts])
    assert together.shape == (3 + 1 + 2, 8)
    torch.testing.assert_close(together, alone)


def test_heads_are_laid_side_by_side(model):
    x = collect(model, "blocks.1.attn.hook_z", [[0, 3, 5, 2]], special=SPECIAL)
    assert x.shape == (3, 8)


def test_a_hook_that_the_model_lacks_is_refused(model):
    with pytest.raises(ValueError, match="hook_resid_pst"):
        list(vectors(model, "blocks.0.hook_resid_pst", [[1]]))


def test_a_text_without_tokens_is_refused(model):
    with pytest.raises(ValueError, match="without tokens"):
        collect(model, HOOK, [[1, 2], []])


def test_no_texts_at_all_is_refused(model):
    with pytest.raises(ValueError, match="no texts"):
        collect(model, HOOK, [])


def test_a_sample_is_drawn_without_replacement():
    rows = Rows(torch.arange(10.0)[:, None])
    assert sorted(rows.sample(10).flatten().tolist()) == list(range(10))
    assert len(set(rows.sample(4, seed=3).flatten().tolist())) == 4


def test_a_batch_of_rows_is_one_gather():
    rows = Rows(torch.arange(10.0)[:, None])
    assert rows.__getitems__([7, 2]).tolist() == [[7.0], [2.0]]
    assert rows[3].item() == 3.0


# Streams

TEXTS = [" ".join(chr(ord("a") + (7 * n + i) % 19) for i in range(1 + n % 5)) for n in range(30)]
"""Thirty texts, 90 words in all."""


def stream(model, texts=TEXTS, hooks=(HOOK,), **options):
    options = {"batch": 6, "buffer": 20} | options
    return Stream(model, hooks, Corpus(texts, model.tokenizer, 4), **options)


def first(stream, batches, hook=HOOK):
    return torch.cat([batch[hook] for batch in islice(stream, batches)])


def ordered(x):
    return x[x[:, 0].argsort()]


def test_a_stream_hands_out_every_vector_once_and_out_of_order_before_it_repeats_one(model):
    whole = collect(model, HOOK, Corpus(TEXTS, model.tokenizer, 4))
    seen = first(stream(model), 15)
    assert len(seen) == len(whole) == 90
    assert not torch.allclose(seen, whole)
    torch.testing.assert_close(ordered(seen), ordered(whole))
    again = first(stream(model), 30)[90:]
    torch.testing.assert_close(ordered(again), ordered(whole))
    assert not torch.allclose(again, seen)


def test_a_stream_is_the_same_each_time_and_another_with_another_seed(model):
    torch.testing.assert_close(first(stream(model), 5), first(stream(model), 5))
    assert not torch.allclose(first(stream(model), 5), first(stream(model, seed=1), 5))


def test_a_stream_passes_over_what_was_seen_without_making_it(model):
    passes = []
    handle = model.embed.register_forward_hook(lambda *_: passes.append(1))
    try:
        whole = first(stream(model), 25)
        made = len(passes)
        rest = first(stream(model, start=23), 2)
    finally:
        handle.remove()
    torch.testing.assert_close(rest, whole[23 * 6 :], atol=0, rtol=0)
    assert len(passes) - made <= 2 < made


def test_processes_make_their_parts_of_the_batches_that_one_would_make(model):
    alone = first(stream(model, shards=2), 12).view(12, 6, 8)
    parts = [first(stream(model, shards=2, rank=r, world=2), 12).view(12, 3, 8) for r in (0, 1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), alone)


def test_several_hooks_are_read_at_the_same_tokens(model):
    hooks = (HOOK, "blocks.1.attn.hook_z")
    both = stream(model, hooks=hooks)
    for hook in hooks:
        alone = first(stream(model, hooks=(hook,)), 4, hook)
        torch.testing.assert_close(first(both, 4, hook), alone)


def test_a_sample_is_what_the_texts_begin_with(model):
    sample = stream(model).sample(7)[HOOK]
    begin = collect(model, HOOK, Corpus(TEXTS[:4], model.tokenizer, 4))
    assert len(sample) == 7
    assert all((begin - x).abs().amax(1).min() < 1e-5 for x in sample)


def test_a_batch_that_shards_cannot_share_is_refused(model):
    with pytest.raises(ValueError, match="6 vectors cannot come in equal shares from 4 shards"):
        stream(model, shards=4)


def test_texts_of_special_tokens_alone_are_refused(model):
    with pytest.raises(ValueError, match="nothing to train on"):
        first(stream(model, ["", " "]), 1)


def test_what_is_no_vector_for_each_token_is_refused(model):
    hook = "blocks.0.attn.hook_pattern"
    with pytest.raises(ValueError, match=r"hook_pattern' has shape \(10, 2, 4, 4\)"):
        first(stream(model, hooks=(hook,)), 1, hook)
