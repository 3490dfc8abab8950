"""SAELens's files of every version, and its SAEs in memory."""

import json

import pytest
import torch
from written import D, F, check, folder, inputs, numbers, plain, topk

from sae_widgets.formats import as_sae, load_sae

X = inputs()
W = plain()


def v6(**config):
    return {"architecture": "standard", "metadata": {"hook_name": "blocks.1.hook_x"}, **config}


def saved(path, config, tensors=W):
    return folder(path / "theirs", config, tensors, "sae_weights.safetensors")


def values_of(x, w=W, pre_bias=True):
    return ((x - w["b_dec"] if pre_bias else x) @ w["W_enc"] + w["b_enc"]).relu()


def test_the_newest_layout_takes_the_bias_from_the_input_unless_it_says_otherwise(tmp_path):
    sae = load_sae(saved(tmp_path, v6()))
    assert (sae.name, sae.hook, sae.stats) == ("theirs", "blocks.1.hook_x", None)
    values = values_of(X)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])

    values = values_of(X, pre_bias=False)
    sae = load_sae(saved(tmp_path, v6(apply_b_dec_to_input=False)))
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_where_it_is_from_is_kept(tmp_path):
    metadata = {
        "hook_name": "blocks.1.hook_x",
        "model_name": "gpt2-small",
        "model_from_pretrained_kwargs": {"center_writing_weights": True},
        "prepend_bos": True,
        "context_size": 128,
    }
    path = saved(tmp_path, v6(metadata=metadata))
    assert load_sae(path).provenance == {
        "format": "SAELens",
        "source": str(path / "sae_weights.safetensors"),
        "model": "gpt2-small",
        "processing": {"center_writing_weights": True},
        "prepend_bos": True,
        "context": 128,
    }


def test_version_2_calls_the_hook_a_point_and_says_nothing_else(tmp_path):
    config = {"hook_point": "blocks.3.hook_resid_pre", "hook_point_layer": 3, "d_in": D}
    sae = load_sae(saved(tmp_path, config))
    assert sae.hook == "blocks.3.hook_resid_pre"
    values = values_of(X)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_before_version_6_a_topk_may_call_itself_standard(tmp_path):
    config = {
        "architecture": "standard",
        "hook_name": "blocks.3.hook_resid_pre",
        "hook_head_index": None,
        "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 2},
        "dtype": "torch.float32",
    }
    sae = load_sae(saved(tmp_path, config))
    values = topk((X - W["b_dec"]) @ W["W_enc"] + W["b_enc"], 2)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_a_gated_sae_fires_where_its_gate_opens_with_what_its_magnitude_is(tmp_path):
    own = {name: numbers(F, seed=i) for i, name in enumerate(("b_gate", "b_mag", "r_mag"), 20)}
    tensors = {name: t for name, t in W.items() if name != "b_enc"} | own
    sae = load_sae(saved(tmp_path, v6(architecture="gated"), tensors))
    x = X / 4
    centred = x - W["b_dec"]
    gate = centred @ W["W_enc"] + own["b_gate"] > 0
    magnitude = (centred @ (W["W_enc"] * own["r_mag"].exp()) + own["b_mag"]).relu()
    assert (gate & (magnitude == 0)).any(), "the magnitude decides nothing here"
    assert (~gate & (magnitude > 0)).any(), "the gate decides nothing here"
    check(sae, gate * magnitude, (gate * magnitude) @ W["W_dec"] + W["b_dec"], x)


@pytest.mark.parametrize("name", ["threshold", "log_threshold"])
def test_a_jumprelu_has_a_threshold_or_while_it_trains_its_logarithm(tmp_path, name):
    threshold = numbers(F, seed=30).abs()
    kept = threshold if name == "threshold" else threshold.log()
    sae = load_sae(saved(tmp_path, v6(architecture="jumprelu"), W | {name: kept}))
    pre = (X - W["b_dec"]) @ W["W_enc"] + W["b_enc"]
    values = pre * (pre > threshold)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_a_topk_that_chooses_by_value_times_length_gets_directions_of_length_one(tmp_path):
    config = v6(architecture="topk", k=2, rescale_acts_by_decoder_norm=True)
    sae = load_sae(saved(tmp_path, config))
    length = W["W_dec"].norm(dim=1)
    pre = (X - W["b_dec"]) @ W["W_enc"] + W["b_enc"]
    values = topk(pre * length, 2)
    assert ((topk(pre, 2) > 0) != (values > 0)).any(), "the lengths decide nothing here"
    check(sae, values, (values / length) @ W["W_dec"] + W["b_dec"])

    sae = load_sae(saved(tmp_path, v6(architecture="topk", k=2)))
    check(sae, topk(pre, 2), topk(pre, 2) @ W["W_dec"] + W["b_dec"])


@pytest.mark.parametrize("kind", ["batchtopk", "matryoshka_batchtopk"])
def test_a_batchtopk_in_training_has_one_threshold_of_value_times_length(tmp_path, kind):
    config = v6(architecture=kind, k=2.5, rescale_acts_by_decoder_norm=True)
    tensors = W | {"topk_threshold": torch.tensor(1.5, dtype=torch.float64)}
    sae = load_sae(saved(tmp_path, config, tensors))
    length = W["W_dec"].norm(dim=1)
    pre = ((X - W["b_dec"]) @ W["W_enc"] + W["b_enc"]) * length
    values = pre * (pre > 1.5)
    check(sae, values, (values / length) @ W["W_dec"] + W["b_dec"])


@pytest.mark.parametrize("said", [True, "expected_average_only_in"])
def test_a_scale_that_is_asked_for_and_not_given_is_to_be_passed(tmp_path, said):
    path = saved(tmp_path, v6(normalize_activations=said))
    with pytest.raises(ValueError, match=r"does not say by what.*norm_scaling_factor.*pass scale="):
        load_sae(path)
    sae = load_sae(path, scale=0.25)
    values = values_of(X * 0.25)
    check(sae, values, (values @ W["W_dec"] + W["b_dec"]) / 0.25)
    (path / "activation_scaler.json").write_text(json.dumps({"scaling_factor": 0.25}))
    check(load_sae(path), values, (values @ W["W_dec"] + W["b_dec"]) / 0.25)
    with pytest.raises(ValueError, match=r"positive number; got scale=-1"):
        load_sae(path, scale=-1.0)


def test_layer_norm_is_applied_and_undone(tmp_path):
    sae = load_sae(saved(tmp_path, v6(normalize_activations="layer_norm")))
    mean, std = X.mean(-1, keepdim=True), X.std(-1, keepdim=True)
    values = values_of((X - mean) / (std + 1e-5))
    check(sae, values, (values @ W["W_dec"] + W["b_dec"]) * std + mean)


def test_every_activation_may_be_brought_to_the_length_root_d(tmp_path):
    sae = load_sae(saved(tmp_path, v6(normalize_activations="constant_norm_rescale")))
    size = X.norm(dim=-1, keepdim=True) / D**0.5
    values = values_of(X / size)
    check(sae, values, (values @ W["W_dec"] + W["b_dec"]) * size)


def test_factors_of_finetuning_count_when_decoding_only(tmp_path):
    factor = numbers(F, seed=40).abs() + 0.5
    flagged = v6(finetuning_scaling_factor=True)
    sae = load_sae(saved(tmp_path, flagged, W | {"scaling_factor": factor}))
    values = values_of(X)
    check(sae, values, (values * factor) @ W["W_dec"] + W["b_dec"])
    # All ones were written whether there were any or not.
    ones = W | {"scaling_factor": torch.ones(F)}
    check(load_sae(saved(tmp_path, v6(), ones)), values, values @ W["W_dec"] + W["b_dec"])
    with pytest.raises(ValueError, match=r"does not say that they are to be used"):
        off = v6(finetuning_scaling_factor=False)
        load_sae(saved(tmp_path, off, W | {"finetuning_scaling_factor": factor}))


def transcoder(**others):
    metadata = {"hook_name": "blocks.1.mlp.hook_in", "hook_name_out": "blocks.1.hook_mlp_out"}
    out = {"W_dec": numbers(F, D + 2, seed=50), "b_dec": numbers(D + 2, seed=51)}
    return metadata, W | out | others


def test_a_transcoder_writes_elsewhere_and_takes_no_bias_from_its_input(tmp_path):
    metadata, w = transcoder()
    sae = load_sae(saved(tmp_path, {"architecture": "transcoder", "metadata": metadata}, w))
    assert (sae.hook, sae.hook_out) == (metadata["hook_name"], metadata["hook_name_out"])
    values = (X @ w["W_enc"] + w["b_enc"]).relu()
    check(sae, values, values @ w["W_dec"] + w["b_dec"])


def test_a_jumprelu_skip_transcoder_adds_a_linear_map_of_its_input(tmp_path):
    threshold = numbers(F, seed=52).abs()
    metadata, w = transcoder(W_skip=numbers(D + 2, D, seed=53), threshold=threshold)
    config = {"architecture": "jumprelu_skip_transcoder", "metadata": metadata}
    sae = load_sae(saved(tmp_path, config, w))
    pre = X @ w["W_enc"] + w["b_enc"]
    values = pre * (pre > threshold)
    check(sae, values, values @ w["W_dec"] + w["b_dec"] + X @ w["W_skip"].T)


def test_a_transcoder_that_does_not_say_where_it_writes_is_asked(tmp_path):
    metadata, w = transcoder()
    del metadata["hook_name_out"]
    path = saved(tmp_path, {"architecture": "transcoder", "metadata": metadata}, w)
    with pytest.raises(ValueError, match=r"which hook it writes; pass hook_out="):
        load_sae(path)
    assert load_sae(path, hook_out="blocks.1.hook_mlp_out").hook_out == "blocks.1.hook_mlp_out"


def test_heads_are_read_side_by_side_but_one_alone_is_refused(tmp_path):
    hook = "blocks.1.attn.hook_z"
    w = plain(W_enc=numbers(6, F), W_dec=numbers(F, 6), b_dec=numbers(6))
    sae = load_sae(saved(tmp_path, {"hook_name": hook, "hook_head_index": None}, w))
    z = numbers(2, 3, 2, 3)
    torch.testing.assert_close(sae.encode(sae.flatten(z)), values_of(z.reshape(2, 3, 6), w))
    with pytest.raises(ValueError, match=r"one attention head alone \(hook_head_index=4\)"):
        load_sae(saved(tmp_path, {"hook_name": hook, "hook_head_index": 4}, w))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"architecture": "matching_pursuit"}, "'matching_pursuit' cannot be read; standard, gat"),
        ({"activation_fn_str": "tanh-relu"}, "'tanh-relu' is not supported; relu and topk are"),
        ({"normalize_activations": "covariance_whitening"}, "'covariance_whitening', which is not"),
        ({"architecture": "topk"}, r"how many features fire \(k\); pass k="),
        ({"architecture": "topk", "k": 0}, "says 0 for how many features fire.*pass k="),
        ({"architecture": "jumprelu"}, "lacks the tensor 'threshold'"),
        ({"metadata": {}}, "which hook the SAE reads; pass hook="),
    ],
)
def test_what_is_not_understood_is_named(tmp_path, config, message):
    with pytest.raises(ValueError, match=message):
        load_sae(saved(tmp_path, v6(**config)))


class Theirs(torch.nn.Module):
    """What an SAE of SAELens in memory looks like from outside."""

    def __init__(self, config, tensors):
        super().__init__()
        self.cfg = type("Config", (), {"to_dict": lambda _self: config})()
        for name, tensor in tensors.items():
            setattr(self, name, torch.nn.Parameter(tensor))

    def encode(self, x):
        raise NotImplementedError


def test_an_sae_in_memory_is_taken_as_it_is_and_shares_its_weights():
    theirs = Theirs(v6(normalize_activations="expected_average_only_in"), W)
    sae = as_sae(theirs)
    values = values_of(X)  # in memory SAELens does not scale either
    check(sae, values, values @ W["W_dec"] + W["b_dec"])
    assert sae.W_enc.data_ptr() == theirs.W_enc.data_ptr()
    assert not sae.W_enc.requires_grad and theirs.W_enc.requires_grad
    assert as_sae(sae) is sae
    assert load_sae(theirs, name="mine").name == "mine"


def test_something_that_is_no_sae_says_so():
    with pytest.raises(TypeError, match=r"of SAELens; got a Linear"):
        as_sae(torch.nn.Linear(2, 3))
