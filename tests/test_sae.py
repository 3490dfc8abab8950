"""An SAE encodes, decodes, and encodes some features as it encodes all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_sae

from sae_widgets.sae import SAE, Centred, ConstantNorm, GroupMax, JumpReLU, LayerNorm, Relu, TopK


def lopsided(activation, pre_bias=True):
    """Three features in a plane, with a threshold, biases and directions that all differ."""
    sae = SAE(2, 3, "hook", activation, pre_bias=pre_bias)
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 1.0, -1.0]]))
        sae.b_enc.copy_(torch.tensor([0.5, -1.0, 0.0]))
        sae.W_dec.copy_(torch.tensor([[1.0, 2.0], [0.0, 3.0], [-1.0, 1.0]]))
        sae.b_dec.copy_(torch.tensor([1.0, -1.0]))
    return sae.requires_grad_(False)


X = torch.tensor([3.0, 2.0])
# X − b_dec = (2, 3); times W_enc (2, 3, 1); plus b_enc (2.5, 2, 1)


def test_relu_lets_every_positive_value_fire():
    sae = lopsided(Relu())
    torch.testing.assert_close(sae.encode(X), torch.tensor([2.5, 2.0, 1.0]))
    # 2.5·(1, 2) + 2·(0, 3) + 1·(−1, 1) + (1, −1)
    torch.testing.assert_close(sae(X), torch.tensor([2.5, 11.0]))
    assert sae.encode(-X).tolist() == [0.0, 0.0, 0.0]


def test_without_pre_bias_the_input_is_taken_as_it_is():
    sae = lopsided(Relu(), pre_bias=False)
    # X times W_enc (3, 2, 4); plus b_enc (3.5, 1, 4)
    torch.testing.assert_close(sae.encode(X), torch.tensor([3.5, 1.0, 4.0]))


def test_jumprelu_fires_only_above_its_threshold():
    sae = lopsided(JumpReLU(torch.tensor([2.4, 2.0, 1.5])))
    torch.testing.assert_close(sae.encode(X), torch.tensor([2.5, 0.0, 0.0]))


def test_topk_keeps_the_strongest():
    sae = lopsided(TopK(2))
    torch.testing.assert_close(sae.encode(X), torch.tensor([2.5, 2.0, 0.0]))
    with pytest.raises(ValueError, match="k=0"):
        TopK(0)


@pytest.mark.parametrize(
    "activation",
    [Relu(), TopK(2), GroupMax(3), JumpReLU(torch.tensor([0.4, 1.9, 0.1, 0.0, 0.3, -1.0]))],
)
def test_some_features_encode_as_they_do_among_all(activation):
    torch.manual_seed(0)
    sae = SAE(4, 6, "hook", activation).requires_grad_(False)
    sae.b_enc.uniform_(-1, 1)
    sae.b_dec.uniform_(-1, 1)

    @settings(max_examples=50)
    @given(st.lists(st.integers(0, 5), max_size=8), st.integers(0, 2**31))
    def check(features, seed):
        x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(seed))
        some = sae.encoder(features)(x)
        torch.testing.assert_close(some, sae.encode(x)[..., features])

    check()


def test_groupmax_keeps_the_strongest_of_each_group():
    pre = torch.tensor([[1.0, 3.0, -1.0, -2.0, 0.5, 0.2]])
    assert GroupMax(3)(pre).tolist() == [[0.0, 3.0, 0.0, 0.0, 0.5, 0.0]]
    assert GroupMax(2)(pre).tolist() == [[0.0, 3.0, 0.0, 0.0, 0.5, 0.0]]


def test_what_is_above_a_negative_threshold_fires_only_above_zero():
    pre = torch.tensor([-3.0, -0.5, 0.5])
    assert JumpReLU(torch.tensor([-1.0, -1.0, -1.0]))(pre).tolist() == [0.0, 0.0, 0.5]


def test_layer_norm_takes_the_mean_away_counts_in_standard_deviations_and_undoes_both():
    x = torch.tensor([[1.0, 3.0, 8.0]])  # mean 4, deviations -3, -1, 4: 26 / 2 = 13
    norm = LayerNorm()
    torch.testing.assert_close(norm(x), torch.tensor([[-3.0, -1.0, 4.0]]) / (13**0.5 + 1e-5))
    torch.testing.assert_close(
        norm.undo(torch.tensor([[2.0, 0.0, 1.0]]), x),
        torch.tensor([[2 * 13**0.5 + 4, 4.0, 13**0.5 + 4]]),
    )


def test_centring_takes_the_mean_away_and_adds_it_again():
    x = torch.tensor([[1.0, 3.0, 8.0]])
    assert Centred()(x).tolist() == [[-3.0, -1.0, 4.0]]
    assert Centred().undo(torch.tensor([[2.0, 0.0, 1.0]]), x).tolist() == [[6.0, 4.0, 5.0]]


def test_constant_norm_gives_every_activation_the_length_root_d():
    x = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    norm = ConstantNorm()
    torch.testing.assert_close(norm(x), torch.tensor([[0.6, 0.8], [0.6, 0.8]]) * 2**0.5)
    torch.testing.assert_close(norm.undo(norm(x), x), x)


def test_an_sae_normalises_before_it_reads_and_undoes_it_at_the_end():
    sae = lopsided(Relu())
    sae.normalization = ConstantNorm()
    x = torch.tensor([30.0, 40.0])  # seen as (0.6, 0.8)·√2; one unit is 50/√2
    inner = lopsided(Relu())
    seen = torch.tensor([0.6, 0.8]) * 2**0.5
    torch.testing.assert_close(sae.encode(x), inner.encode(seen))
    torch.testing.assert_close(sae(x), inner(seen) * 50 / 2**0.5)
    torch.testing.assert_close(sae.encoder([2, 0])(x), inner.encode(seen)[[2, 0]])
    with pytest.raises(ValueError, match=r"decode\(values, x\)"):
        sae.decode(sae.encode(x))


def transcoder(skip=False):
    """Reads two entries and writes three."""
    sae = SAE(3, 2, "in", pre_bias=False, d_in=2, hook_out="out", skip=skip)
    with torch.no_grad():
        sae.W_enc.copy_(torch.tensor([[1.0, 0.0], [2.0, -1.0]]))
        sae.b_enc.copy_(torch.tensor([0.5, 1.0]))
        sae.W_dec.copy_(torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]]))
        sae.b_dec.copy_(torch.tensor([0.1, 0.2, 0.3]))
    return sae.requires_grad_(False)


def test_a_transcoder_writes_vectors_of_another_length_at_another_place():
    sae = transcoder()
    x = torch.tensor([1.0, -0.5])
    assert (sae.hook, sae.hook_out, sae.is_transcoder) == ("in", "out", True)
    assert (sae.d_in, sae.d_model, sae.d_sae) == (2, 3, 2)
    torch.testing.assert_close(sae.encode(x), torch.tensor([0.5, 1.5]))
    torch.testing.assert_close(sae(x), torch.tensor([0.6, 4.7, 1.3]))
    torch.testing.assert_close(sae.decode(torch.tensor([0.5, 1.5])), torch.tensor([0.6, 4.7, 1.3]))


def test_a_skip_connection_adds_a_linear_map_of_what_is_read():
    sae = transcoder(skip=True)
    sae.W_skip.copy_(torch.tensor([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]]))
    x = torch.tensor([1.0, -0.5])
    torch.testing.assert_close(sae(x), torch.tensor([0.6 + 1.0, 4.7 - 1.0, 1.3 + 0.5]))
    with pytest.raises(ValueError, match="skip connection"):
        sae.decode(sae.encode(x))


def test_a_transcoder_with_the_bias_of_what_it_writes_taken_from_what_it_reads_is_refused():
    with pytest.raises(ValueError, match="pass pre_bias=False"):
        SAE(3, 2, "in", hook_out="out")


def test_heads_are_laid_side_by_side():
    sae = make_sae("blocks.0.attn.hook_z", d_model=6)
    z = torch.arange(24.0).reshape(1, 4, 2, 3)
    flat = sae.flatten(z)
    assert flat.shape == (1, 4, 6)
    assert flat[0, 1].tolist() == [6, 7, 8, 9, 10, 11]


def test_thresholds_move_with_the_sae():
    sae = SAE(2, 3, "hook", JumpReLU(torch.ones(3))).double()
    assert sae.activation.threshold.dtype == torch.float64


def test_a_feature_out_of_range_is_named(sae):
    with pytest.raises(IndexError, match=r"no feature 32.*numbered 0 to 31"):
        sae.check_feature(32)
    with pytest.raises(IndexError, match="no feature -1"):
        sae.check_feature(-1)
