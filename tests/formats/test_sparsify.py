"""What EleutherAI's sparsify saves."""

import pytest
import torch
from written import D, F, check, folder, inputs, numbers, plain, topk

from sae_widgets.formats import load_sae

X = inputs()
W = plain()
CONFIG = {"activation": "topk", "k": 2, "num_latents": 0, "expansion_factor": 32, "d_in": D}


def saved(path, name="layers.10", config=CONFIG, **others):
    tensors = {
        "encoder.weight": W["W_enc"].T,
        "encoder.bias": W["b_enc"],
        "W_dec": W["W_dec"],
        "b_dec": W["b_dec"],
        **others,
    }
    return folder(path / name, config, tensors, "sae.safetensors")


@pytest.mark.parametrize("normalize", [True, False])
def test_the_bias_is_taken_from_the_input_whatever_is_said_of_the_decoder(tmp_path, normalize):
    sae = load_sae(saved(tmp_path, config=CONFIG | {"normalize_decoder": normalize}))
    values = topk((X - W["b_dec"]) @ W["W_enc"] + W["b_enc"], 2)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_a_square_decoder_is_not_turned(tmp_path):
    encoder, decoder = numbers(D, D, seed=60), numbers(D, D, seed=61)
    path = saved(
        tmp_path,
        **{"encoder.weight": encoder, "encoder.bias": torch.zeros(D), "W_dec": decoder},
    )
    assert torch.equal(load_sae(path).W_dec, decoder)
    assert torch.equal(load_sae(path).W_enc, encoder.T)


def test_a_transcoder_takes_no_bias_and_a_skip_connection_reads_the_input_as_it_is(tmp_path):
    skip = numbers(D, D, seed=62)
    config = CONFIG | {"transcode": True, "skip_connection": True}
    sae = load_sae(saved(tmp_path, "layers.10.mlp", config, W_skip=skip))
    assert (sae.hook, sae.hook_out) == ("blocks.10.mlp.hook_in", "blocks.10.hook_mlp_out")
    values = topk(X @ W["W_enc"] + W["b_enc"], 2)
    check(sae, values, values @ W["W_dec"] + W["b_dec"] + X @ skip.T)


def test_an_sae_may_have_a_skip_connection_too(tmp_path):
    skip = numbers(D, D, seed=63)
    sae = load_sae(saved(tmp_path, config=CONFIG | {"skip_connection": True}, W_skip=skip))
    values = topk((X - W["b_dec"]) @ W["W_enc"] + W["b_enc"], 2)
    check(sae, values, values @ W["W_dec"] + W["b_dec"] + X @ skip.T)


def test_groupmax_keeps_one_of_each_group(tmp_path):
    big = 8
    w = plain(W_enc=numbers(D, big), b_enc=numbers(big), W_dec=numbers(big, D))
    tensors = {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], "W_dec": w["W_dec"]}
    sae = load_sae(saved(tmp_path, config=CONFIG | {"activation": "groupmax", "k": 4}, **tensors))
    pre = ((X - W["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu().unflatten(-1, (4, 2))
    values = (pre * (pre == pre.amax(-1, keepdim=True))).flatten(-2)
    check(sae, values, values @ w["W_dec"] + W["b_dec"])


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("layers.10", "blocks.10.hook_resid_post"),
        ("layers.3.mlp", "blocks.3.hook_mlp_out"),
        ("h.7", "blocks.7.hook_resid_post"),
        ("h.7.attn", "blocks.7.hook_attn_out"),
        ("layers.0.self_attn", "blocks.0.hook_attn_out"),
        ("gpt_neox.layers.2", "blocks.2.hook_resid_post"),
        ("embed_tokens", "hook_embed"),
    ],
)
def test_the_folder_names_the_module_whose_output_is_read(tmp_path, name, hook):
    assert load_sae(saved(tmp_path, name)).hook == hook


def test_a_module_that_is_not_known_is_asked_for(tmp_path):
    path = saved(tmp_path, "h.3.ln_1")
    with pytest.raises(ValueError, match="which hook it reads; pass hook="):
        load_sae(path)
    assert load_sae(path, hook="blocks.3.ln1.hook_out").hook == "blocks.3.ln1.hook_out"


def test_what_is_not_understood_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absolute values \(signed\)"):
        load_sae(saved(tmp_path, config=CONFIG | {"signed": True}))
    with pytest.raises(ValueError, match="'softplus' is not supported; topk and groupmax are"):
        load_sae(saved(tmp_path, config=CONFIG | {"activation": "softplus"}))
    with pytest.raises(ValueError, match=rf"{F} features do not make 2 equal groups"):
        load_sae(saved(tmp_path, config=CONFIG | {"activation": "groupmax"}))
    with pytest.raises(ValueError, match=rf"b_enc has shape \({F + 1},\).*asks for \({F},\)"):
        load_sae(saved(tmp_path, **{"encoder.bias": torch.zeros(F + 1)}))
    with pytest.raises(ValueError, match="sparsify, whose SAEs read activations as they are"):
        load_sae(saved(tmp_path), scale=2.0)
    (tmp_path / "layers.10" / "cfg.json").unlink()
    with pytest.raises(ValueError, match=r"no configuration beside it\) does not say how many"):
        load_sae(tmp_path / "layers.10")
