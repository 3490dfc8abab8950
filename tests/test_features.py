"""Which features fire on which tokens, captured from the model and summed up."""

import pytest
import tiny
import torch

from sae_widgets.features import Features, capture
from sae_widgets.model import activations
from sae_widgets.sae import SAE, JumpReLU, TopK
from sae_widgets.tokens import encode

IDS = [0, 30, 41, 52, 0, 33]  # 0 is special


def record():
    """Five tokens of which the first is special; feature 7 fires twice, 2 once, 5 thrice."""
    return Features(
        ids=torch.tensor([0, 11, 12, 13, 14]),
        special=torch.tensor([True, False, False, False, False]),
        position=torch.tensor([1, 1, 2, 3, 3, 4]),
        feature=torch.tensor([5, 7, 5, 2, 5, 7]),
        value=torch.tensor([1.0, 6.0, 2.0, 4.0, 1.5, 1.0]),
        explained=torch.zeros(5),
        d_sae=9,
    )


def test_a_column_is_one_feature_at_every_position():
    assert record().column(7).tolist() == [0, 6, 0, 0, 1]
    assert record().column(8).tolist() == [0, 0, 0, 0, 0]
    with pytest.raises(IndexError, match="no feature 9: they are numbered 0 to 8"):
        record().column(9)


def test_the_summary_counts_only_ordinary_tokens():
    summary = record().summary
    assert summary.feature.tolist() == [2, 5, 7]
    assert summary.max.tolist() == [4, 2, 6]
    assert summary.mean.tolist() == [4, 1.5, 3.5]
    assert summary.share.tolist() == [0.25, 0.75, 0.5]


def test_features_are_ranked_by_what_is_asked():
    assert record().strongest(3) == [7, 2, 5]
    assert record().strongest(2, by="mean") == [2, 7]
    assert record().strongest(1, by="share") == [5]
    with pytest.raises(ValueError, match="ranked by 'max', 'mean' or 'share'; got 'sum'"):
        record().strongest(1, by="sum")


def test_capture_finds_what_encoding_every_activation_finds(any_model, sae):
    found = capture(any_model, sae, IDS)
    x = activations(any_model, torch.tensor([IDS]), tiny.HOOK)[0]
    expected = (x - sae.b_dec) @ sae.W_enc
    expected = expected.relu()
    expected[[0, 4]] = 0  # special
    dense = torch.zeros_like(expected)
    dense[found.position, found.feature] = found.value
    torch.testing.assert_close(dense, expected)
    assert found.special.tolist() == [True, False, False, False, True, False]
    order = found.position * sae.d_sae + found.feature
    assert (order.diff() > 0).all()


def test_capture_says_how_much_the_features_explain(model, sae):
    whole = capture(model, sae, IDS).explained
    torch.testing.assert_close(whole, torch.tensor([0.0, 1, 1, 1, 0, 1]))

    half = tiny.make_sae()
    half.W_dec *= 0.5  # each coordinate comes out half as long: a quarter of the square is missing
    part = capture(model, half, IDS).explained
    torch.testing.assert_close(part, torch.tensor([0.0, 0.75, 0.75, 0.75, 0, 0.75]))


@pytest.mark.parametrize("activation", [TopK(3), JumpReLU(torch.full((32,), 0.7))])
def test_capture_in_small_tiles_is_the_same(model, activation, monkeypatch):
    sae = SAE(16, 32, tiny.HOOK, activation)
    whole = capture(model, sae, IDS)
    monkeypatch.setattr("sae_widgets.features.TILE", 64)
    tiled = capture(model, sae, IDS)
    assert torch.equal(whole.position, tiled.position)
    assert torch.equal(whole.feature, tiled.feature)
    torch.testing.assert_close(whole.value, tiled.value)


def test_heads_are_captured_side_by_side(model):
    sae = tiny.make_sae("blocks.1.attn.hook_z")
    found = capture(model, sae, IDS)
    z = activations(model, torch.tensor([IDS]), sae.hook)[0]
    feature = int(found.feature[0])
    head, place = divmod(feature % 16, 8)
    sign = 1 if feature < 16 else -1
    value = sign * (z[int(found.position[0]), head, place] - sae.b_dec[feature % 16])
    torch.testing.assert_close(found.value[0], value)


def test_short_texts_are_fine(model, sae):
    assert len(capture(model, sae, []).value) == 0
    assert repr(capture(model, sae, [0])) == "Features(1 tokens, 0 of 32 features fire, 0 values)"
    assert len(capture(model, sae, [30]).summary.feature) == 16


def test_a_tokenizer_without_bos_has_nothing_to_leave_out(tokenizer_without_bos, sae):
    model = tiny.gpt2(tokenizer_without_bos)
    ids = encode(tokenizer_without_bos, "the sea", limit=9).ids
    assert not capture(model, sae, ids).special.any()


def test_a_text_longer_than_the_context_is_refused_with_both_numbers(model, sae):
    with pytest.raises(ValueError, match="has 60 tokens; this model reads at most 48"):
        capture(model, sae, [30] * 60)


def test_an_sae_of_another_width_is_refused(model):
    with pytest.raises(ValueError, match=r"reads vectors of 12 entries.*have 16"):
        capture(model, tiny.make_sae(d_model=12), IDS)


def test_an_sae_of_a_hook_the_model_lacks_is_refused(model):
    with pytest.raises(ValueError, match=r"no hook point 'blocks\.7\.hook_resid_post'"):
        capture(model, tiny.make_sae("blocks.7.hook_resid_post"), IDS)
