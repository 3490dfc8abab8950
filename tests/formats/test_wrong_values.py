"""Values of a wrong kind in the configuration of an SAE: every one is refused in words."""

import json
import math

import pytest
from written import F, folder, plain

from sae_widgets.formats import load_sae

HUGE = 10**400
WRONG = [None, True, [], {}, "", "x" * 1000, -1, 0, 2.5, math.nan, math.inf, HUGE]
SAELENS = {"architecture": "topk", "k": 2, "hook_name": "blocks.1.hook_x", "metadata": {}}
SAELENS |= {"activation_fn_kwargs": {}, "normalize_activations": "none", "activation_fn": "topk"}
HOOK = "blocks.3.hook_resid_post"
LENGTHS = {"in": 0.5, "out": 0.5}
OPENMOSS = {"hook_point_in": HOOK, "hook_point_out": HOOK, "act_fn": "relu"}
OPENMOSS |= {"jump_relu_threshold": 0.5, "dataset_average_activation_norm": LENGTHS}
OPENMOSS |= {"norm_activation": "dataset-wise", "top_k": 2}
SPARSIFY = {"k": 2, "activation": "topk", "transcode": False, "signed": False}
TRAINER = {"dict_class": "AutoEncoderTopK", "submodule_name": "resid_post_layer_3", "layer": 3}


def linear():
    w = plain()
    names = ("encoder.weight", "encoder.bias", "decoder.weight", "decoder.bias")
    return dict(zip(names, (w["W_enc"].T, w["b_enc"], w["W_dec"].T, w["b_dec"]), strict=True))


def sparsify():
    w = plain()
    kept = {"W_dec": w["W_dec"], "b_dec": w["b_dec"]}
    return {"encoder.weight": w["W_enc"].T, "encoder.bias": w["b_enc"], **kept}


CASES = [
    (SAELENS, plain, "sae_weights.safetensors", "saelens"),
    (OPENMOSS, linear, "sae_weights.safetensors", "openmoss"),
    (SPARSIFY, sparsify, "sae.safetensors", "layers.3"),
    ({"trainer": TRAINER}, linear, "ae.pt", "trainer"),
]
FIELDS = [(*case, field) for case in CASES for field in case[0]]


@pytest.mark.parametrize(("config", "weights", "file", "name", "field"), FIELDS)
def test_a_wrong_value_is_refused_in_words_or_does_no_harm(
    tmp_path, config, weights, file, name, field
):
    path = folder(tmp_path / name, config, weights(), file)
    for wrong in WRONG:
        (path / "cfg.json").write_text(json.dumps({**config, field: wrong}))
        try:
            assert load_sae(path).d_sae == F
        except ValueError as error:
            assert name in str(error) and len(str(error)) < 1500


@pytest.mark.parametrize("wrong", [[], True, "", {}])
def test_a_hook_that_is_no_name_says_the_file_and_the_field(tmp_path, wrong):
    path = folder(tmp_path / "a", {**SAELENS, "hook_name": wrong}, plain(), "sae.safetensors")
    with pytest.raises(ValueError, match=r"cfg\.json says .*\(hook\), where the name of a hook"):
        load_sae(path)


@pytest.mark.parametrize("wrong", [0, -1.0, math.nan, math.inf, HUGE, [], "a"])
def test_a_mean_length_that_is_no_length_says_the_file_and_the_field(tmp_path, wrong):
    told = {**OPENMOSS, "dataset_average_activation_norm": {"in": wrong, "out": 0.5}}
    path = folder(tmp_path / "a", told, linear(), "sae_weights.safetensors")
    with pytest.raises(ValueError, match=r"cfg\.json says .* above 0 .*dataset_average"):
        load_sae(path)
