"""An SAE encodes, decodes, and encodes some features as it encodes all."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import make_sae

from sae_widgets.sae import SAE, JumpReLU, Relu, TopK


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
    "activation", [Relu(), TopK(2), JumpReLU(torch.tensor([0.4, 1.9, 0.1, 0.0, 0.3, 1.0]))]
)
def test_some_features_encode_as_they_do_among_all(activation):
    torch.manual_seed(0)
    sae = SAE(4, 6, "hook", activation).requires_grad_(False)
    sae.b_enc.uniform_(-1, 1)
    sae.b_dec.uniform_(-1, 1)

    @settings(max_examples=50, deadline=None, database=None)
    @given(st.lists(st.integers(0, 5), max_size=8), st.integers(0, 2**31))
    def check(features, seed):
        x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(seed))
        some = sae.encoder(features)(x)
        torch.testing.assert_close(some, sae.encode(x)[..., features])

    check()


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
