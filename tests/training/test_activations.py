"""Activations come from the hook alone, in order, without special tokens or fillers."""

import pytest
import torch

from sae_widgets.model import activations
from sae_widgets.training.activations import Rows, Stream, collect, vectors

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


def test_a_stream_hands_out_every_vector_once_and_out_of_order(model):
    texts = [[0, *range(1, 2 + n % 5)] for n in range(30)]
    whole = collect(model, HOOK, texts, special=SPECIAL)
    stream = Stream(model, HOOK, texts, special=SPECIAL, buffer=20, batch=3)
    seen = torch.stack(list(stream))
    assert not torch.equal(seen, whole)
    order = lambda x: x[x[:, 0].argsort()]  # noqa: E731
    torch.testing.assert_close(order(seen), order(whole))


def test_a_stream_is_the_same_each_time(model):
    stream = Stream(model, HOOK, [[0, 4, 2], [0, 3]] * 5, special=SPECIAL, buffer=4, batch=2)
    torch.testing.assert_close(torch.stack(list(stream)), torch.stack(list(stream)))


def test_a_sample_is_drawn_without_replacement():
    rows = Rows(torch.arange(10.0)[:, None])
    assert sorted(rows.sample(10).flatten().tolist()) == list(range(10))
    assert len(set(rows.sample(4, seed=3).flatten().tolist())) == 4


def test_a_batch_of_rows_is_one_gather():
    rows = Rows(torch.arange(10.0)[:, None])
    assert rows.__getitems__([7, 2]).tolist() == [[7.0], [2.0]]
    assert rows[3].item() == 3.0


def test_texts_that_can_be_read_only_once_are_refused(model):
    with pytest.raises(ValueError, match="can be read only once; pass a list"):
        Stream(model, "blocks.0.hook_resid_post", iter([[1, 2]]))
