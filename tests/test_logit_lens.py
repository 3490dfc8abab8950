"""The logit lens against the formula written out."""

import pytest
import tiny
import torch

from sae_widgets.explain import logit_lens
from sae_widgets.model import logits


def by_formula(model, directions):
    """W_U · (weight · centred and scaled direction), for GPT-2's layer norm."""
    network = model.original_model
    weight = dict(network.named_parameters())
    norm = next(v for n, v in weight.items() if "ln_f" in n and n.endswith("weight"))
    head = next(v for n, v in weight.items() if "lm_head" in n or "wte" in n)
    centred = directions - directions.mean(-1, keepdim=True)
    scaled = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt()
    return (scaled * norm) @ head.T


def test_the_lens_is_the_unembedding_of_the_normed_direction(model):
    torch.manual_seed(0)
    directions = torch.randn(3, 16)
    found = logits(model, directions, tiny.HOOK)
    expected = by_formula(model, directions)
    torch.testing.assert_close(found, expected.detach(), atol=1e-4, rtol=1e-4)


def test_biases_of_the_norm_do_not_count(model, tokenizer):
    other = tiny.gpt2(tokenizer)
    bias = next(
        p for n, p in other.original_model.named_parameters() if "ln_f" in n and "bias" in n
    )
    with torch.no_grad():
        bias.copy_(torch.linspace(-4, 9, 16))
    directions = torch.eye(16)[:2]
    torch.testing.assert_close(
        logits(other, directions, tiny.HOOK),
        logits(model, directions, tiny.HOOK),
        atol=1e-4,
        rtol=1e-4,
    )


def test_all_kinds_of_models_have_the_lens(any_model, sae):
    found = logits(any_model, sae.W_dec[:3], tiny.HOOK)
    assert found.shape == (3, len(any_model.tokenizer))
    # feature 16 is feature 0 backwards
    opposite = logits(any_model, sae.W_dec[[16]], tiny.HOOK)
    torch.testing.assert_close(opposite, -found[:1], atol=1e-4, rtol=1e-4)


def test_a_direction_of_the_heads_goes_through_the_output_matrix(any_model):
    hook = "blocks.1.attn.hook_z"
    W_O = any_model.blocks[1].attn.W_O  # [head, d_head, d_model]
    d_head = W_O.shape[1]
    direction = torch.zeros(1, W_O.shape[0] * d_head)
    direction[0, d_head + 1] = 2.0  # the second entry of the second head
    found = logits(any_model, direction, hook)
    expected = logits(any_model, 2 * W_O[1, 1][None].detach(), tiny.HOOK)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_tokens_are_ranked_and_special_ones_left_out(model, sae):
    lens = logit_lens(model, sae, [5, 9], n=4)
    row = logits(model, sae.W_dec[[9]], tiny.HOOK)[0]
    order = [int(token) for token in row.argsort(descending=True) if token != 0]
    assert [token for token, _ in lens[1].likely] == order[:4]
    assert [token for token, _ in lens[1].unlikely] == order[::-1][:4]
    assert lens[1].likely[0][1] == pytest.approx(float(row.max()), abs=1e-4) or order[0] != int(
        row.argmax()
    )


def test_a_direction_outside_the_residual_stream_has_no_lens(model):
    with pytest.raises(ValueError, match="have 64 entries and do not live in the residual stream"):
        logits(model, torch.ones(1, 64), "blocks.0.mlp.hook_post")


def test_a_feature_out_of_range_is_named(model, sae):
    with pytest.raises(IndexError, match="no feature 99"):
        logit_lens(model, sae, [99])
