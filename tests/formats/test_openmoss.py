"""Llama Scope, and what OpenMOSS's library saves."""

import math

import pytest
import torch
from written import D, F, check, folder, inputs, numbers, plain, topk

from sae_widgets.formats import load_sae

X = inputs()
W = plain()
HOOK = "blocks.15.hook_resid_post"
SCALE = math.sqrt(D) / 0.5  # √d_model / the mean length of the activations
LLAMA_SCOPE = {
    "d_model": D,
    "d_sae": F,
    "hook_point_in": HOOK,
    "hook_point_out": HOOK,
    "jump_relu_threshold": 0.75,
    "dataset_average_activation_norm": {"in": 0.5, "out": 0.5},
}


def linear(w=W):
    return {
        "encoder.weight": w["W_enc"].T,
        "encoder.bias": w["b_enc"],
        "decoder.weight": w["W_dec"].T,
        "decoder.bias": w["b_dec"],
    }


def scope(path, config=LLAMA_SCOPE, **others):
    place = path / "Llama3_1-8B-Base-L15R-8x"
    return folder(
        place, config, linear() | others, "checkpoints/final.safetensors", "hyperparams.json"
    )


def new(path, config=(), **others):
    tensors = {
        "W_E": W["W_enc"],
        "b_E": W["b_enc"],
        "W_D": W["W_dec"],
        "b_D": W["b_dec"],
        f"dataset_average_activation_norm.{HOOK}": torch.tensor(0.5),
        **others,
    }
    known = {"d_model": D, "hook_point_in": HOOK, "hook_point_out": HOOK, **dict(config)}
    return folder(path / "L15R", known, tensors, "sae_weights.safetensors", "config.json")


def test_the_scale_is_folded_so_that_values_are_those_of_the_activations_as_they_are(tmp_path):
    sae = load_sae(scope(tmp_path))
    assert (sae.hook, sae.name) == (HOOK, "Llama3_1-8B-Base-L15R-8x")
    trained = ((X * SCALE) @ W["W_enc"] + W["b_enc"]).relu()
    values = trained * (trained / SCALE > 0.75) / SCALE
    assert ((trained > 0) & (values == 0)).any(), "the threshold decides nothing here"
    check(sae, values, (values * SCALE @ W["W_dec"] + W["b_dec"]) / SCALE)


def test_a_mean_length_that_is_not_said_is_asked_for(tmp_path):
    config = {k: v for k, v in LLAMA_SCOPE.items() if k != "dataset_average_activation_norm"}
    path = scope(tmp_path, config)
    with pytest.raises(ValueError, match=r"how long activations are.*pass scale="):
        load_sae(path)
    torch.testing.assert_close(load_sae(path, scale=SCALE).b_enc, W["b_enc"] / SCALE)


def test_a_transcoder_reads_and_writes_activations_of_different_lengths(tmp_path):
    into, out = "blocks.15.ln2.hook_normalized", "blocks.15.hook_mlp_out"
    norms = {"in": 0.5, "out": 4.0}
    hooks = {"hook_point_in": into, "hook_point_out": out}
    config = LLAMA_SCOPE | hooks | {"dataset_average_activation_norm": norms}
    sae = load_sae(scope(tmp_path, config))
    assert (sae.hook, sae.hook_out) == (into, out)
    trained = ((X * SCALE) @ W["W_enc"] + W["b_enc"]).relu()
    values = trained * (trained / SCALE > 0.75) / SCALE
    written = (values * SCALE) @ W["W_dec"] + W["b_dec"]
    check(sae, values, written / (math.sqrt(D) / 4.0))


def test_the_newest_names_keep_the_length_among_the_weights(tmp_path):
    sae = load_sae(new(tmp_path, {"act_fn": "relu"}))
    values = ((X * SCALE) @ W["W_enc"] + W["b_enc"]).relu() / SCALE
    check(sae, values, values @ W["W_dec"] + W["b_dec"] / SCALE)


def test_once_it_is_folded_nothing_is_folded_again(tmp_path):
    sae = load_sae(new(tmp_path, {"act_fn": "relu", "norm_activation": "inference"}))
    values = (X @ W["W_enc"] + W["b_enc"]).relu()
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_activations_may_be_scaled_one_by_one(tmp_path):
    sae = load_sae(new(tmp_path, {"act_fn": "relu", "norm_activation": "token-wise"}))
    size = X.norm(dim=-1, keepdim=True) / D**0.5
    values = ((X / size) @ W["W_enc"] + W["b_enc"]).relu()
    check(sae, values, (values @ W["W_dec"] + W["b_dec"]) * size)


@pytest.mark.parametrize(
    "name", ["log_jumprelu_threshold", "activation_function.log_jumprelu_threshold"]
)
def test_thresholds_are_logarithms_and_of_the_scaled_values(tmp_path, name):
    threshold = numbers(F, seed=80).abs() * 3
    sae = load_sae(new(tmp_path, {"act_fn": "jumprelu"}, **{name: threshold.log()}))
    trained = (X * SCALE) @ W["W_enc"] + W["b_enc"]
    values = trained * (trained > threshold) / SCALE
    check(sae, values, values @ W["W_dec"] + W["b_dec"] / SCALE)


def test_a_threshold_may_be_one_of_value_times_length(tmp_path):
    threshold = numbers(F, seed=81).abs() * 3
    config = {"act_fn": "jumprelu", "sparsity_include_decoder_norm": True}
    sae = load_sae(new(tmp_path, config, log_jumprelu_threshold=threshold.log()))
    trained = (X * SCALE) @ W["W_enc"] + W["b_enc"]
    values = trained * (trained * W["W_dec"].norm(dim=1) > threshold) / SCALE
    check(sae, values, values @ W["W_dec"] + W["b_dec"] / SCALE)


def test_a_topk_by_value_times_length_gets_directions_of_length_one(tmp_path):
    config = {"act_fn": "topk", "top_k": 2, "sparsity_include_decoder_norm": True}
    sae = load_sae(new(tmp_path, config))
    length = W["W_dec"].norm(dim=1)
    values = topk(((X * SCALE) @ W["W_enc"] + W["b_enc"]) * length, 2) / SCALE
    check(sae, values, (values / length) @ W["W_dec"] + W["b_dec"] / SCALE)


def test_a_decoder_may_have_no_bias(tmp_path):
    path = new(tmp_path, {"act_fn": "relu"})
    tensors = {"W_E": W["W_enc"], "b_E": W["b_enc"], "W_D": W["W_dec"]}
    folder(path, None, tensors, "sae_weights.safetensors")
    sae = load_sae(path, scale=1.0)
    values = (X @ W["W_enc"] + W["b_enc"]).relu()
    check(sae, values, values @ W["W_dec"])


def test_what_is_not_understood_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"gated linear encoder \(GLU\)"):
        load_sae(new(tmp_path, {"use_glu_encoder": True}))
    with pytest.raises(ValueError, match=r"act_fn='batchtopk'.*pass threshold= or k="):
        load_sae(new(tmp_path, {"act_fn": "batchtopk"}))
    assert load_sae(new(tmp_path, {"act_fn": "batchtopk"}), k=3).activation.k == 3
    with pytest.raises(ValueError, match="norm_activation='batch-wise' is not supported"):
        load_sae(new(tmp_path, {"norm_activation": "batch-wise"}))
