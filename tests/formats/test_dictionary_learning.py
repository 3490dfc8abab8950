"""What dictionary_learning saves, one class after another."""

import pytest
import torch
from written import D, F, check, folder, inputs, numbers, plain, topk

from sae_widgets.formats import load_sae

X = inputs()
W = plain()
K = torch.tensor(2, dtype=torch.int)
ENCODER = {"encoder.weight": W["W_enc"].T, "encoder.bias": W["b_enc"]}
LINEAR = ENCODER | {"decoder.weight": W["W_dec"].T}
TOPK = LINEAR | {"b_dec": W["b_dec"], "k": K}


def saved(path, kind, tensors, **trainer):
    known = {"layer": 4, "submodule_name": "resid_post_layer_4", "lm_name": "EleutherAI/pythia-70m"}
    config = {"trainer": {"dict_class": kind, **known, **trainer}, "buffer": {"ctx_len": 128}}
    return folder(path / "trainer_0", config, tensors, "ae.pt", "config.json")


def pre(x=X):
    return (x - W["b_dec"]) @ W["W_enc"] + W["b_enc"]


def test_an_autoencoder_is_read_with_directions_of_length_one(tmp_path):
    sae = load_sae(saved(tmp_path, "AutoEncoder", LINEAR | {"bias": W["b_dec"]}))
    assert (sae.hook, sae.name) == ("blocks.4.hook_resid_post", "trainer_0")
    assert sae.provenance["model"] == "EleutherAI/pythia-70m"
    values = pre().relu()
    check(sae, values * W["W_dec"].norm(dim=1), values @ W["W_dec"] + W["b_dec"])


def test_the_new_autoencoder_takes_no_bias_from_its_input(tmp_path):
    sae = load_sae(saved(tmp_path, "AutoEncoderNew", LINEAR | {"decoder.bias": W["b_dec"]}))
    values = (X @ W["W_enc"] + W["b_enc"]).relu()
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_a_gated_one_has_no_bias_in_its_encoder(tmp_path):
    own = {
        name: numbers(F, seed=i) for i, name in enumerate(("r_mag", "gate_bias", "mag_bias"), 90)
    }
    tensors = {k: v for k, v in LINEAR.items() if k != "encoder.bias"}
    sae = load_sae(
        saved(tmp_path, "GatedAutoEncoder", tensors | own | {"decoder_bias": W["b_dec"]})
    )
    read = (X - W["b_dec"]) @ W["W_enc"]
    gate = read + own["gate_bias"] > 0
    values = gate * (own["r_mag"].exp() * read + own["mag_bias"]).relu()
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_a_topk_keeps_k_though_it_has_a_threshold(tmp_path):
    sae = load_sae(saved(tmp_path, "AutoEncoderTopK", TOPK | {"threshold": torch.tensor(0.4)}))
    values = topk(pre(), 2)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_a_batchtopk_has_one_threshold_for_all(tmp_path):
    sae = load_sae(saved(tmp_path, "BatchTopKSAE", TOPK | {"threshold": torch.tensor(1.25)}))
    values = pre() * (pre() > 1.25)
    assert ((pre() > 0) & (values == 0)).any(), "the threshold decides nothing here"
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_a_threshold_that_was_never_found_out_leaves_the_k_strongest(tmp_path):
    sae = load_sae(saved(tmp_path, "BatchTopKSAE", TOPK | {"threshold": torch.tensor(-1.0)}))
    check(sae, topk(pre(), 2), topk(pre(), 2) @ W["W_dec"] + W["b_dec"])


def test_a_matryoshka_has_matrices_the_right_way_round(tmp_path):
    own = {"k": K, "threshold": torch.tensor(1.25), "group_sizes": torch.tensor([3, 4])}
    sae = load_sae(saved(tmp_path, "MatryoshkaBatchTopKSAE", W | own))
    values = pre() * (pre() > 1.25)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


def test_a_jumprelu_takes_no_bias_from_its_input(tmp_path):
    threshold = numbers(F, seed=95).abs()
    sae = load_sae(saved(tmp_path, "JumpReluAutoEncoder", W | {"threshold": threshold}))
    read = X @ W["W_enc"] + W["b_enc"]
    values = read * (read > threshold)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


@pytest.mark.parametrize(
    ("trainer", "hook"),
    [
        ({"submodule_name": "mlp_out_layer_2", "layer": 2}, "blocks.2.hook_mlp_out"),
        ({"submodule_name": "attention_out_layer_3", "layer": 3}, "blocks.3.hook_attn_out"),
        ({"submodule_name": "resid_pre", "layer": 5}, "blocks.5.hook_resid_pre"),
    ],
)
def test_the_trainer_says_which_submodule_it_was(tmp_path, trainer, hook):
    sae = load_sae(
        saved(tmp_path, "AutoEncoderNew", LINEAR | {"decoder.bias": W["b_dec"]}, **trainer)
    )
    assert sae.hook == hook


def test_without_its_configuration_the_names_of_the_tensors_tell_the_class(tmp_path):
    hook = "blocks.4.hook_resid_post"
    path = folder(tmp_path / "bare", None, LINEAR | {"bias": W["b_dec"]}, "ae.pt")
    values = pre().relu()
    check(
        load_sae(path, hook=hook),
        values * W["W_dec"].norm(dim=1),
        values @ W["W_dec"] + W["b_dec"],
    )
    path = folder(tmp_path / "either", None, TOPK | {"threshold": torch.tensor(1.25)}, "ae.pt")
    with pytest.raises(ValueError, match=r"may be a TopK or a BatchTopK.*k=2 .*threshold=1\.25"):
        load_sae(path, hook=hook)
    torch.testing.assert_close(load_sae(path, hook=hook, k=2).encode(X), topk(pre(), 2))
    sae = load_sae(path, hook=hook, threshold=1.25)
    torch.testing.assert_close(sae.encode(X), pre() * (pre() > 1.25))


def test_what_is_not_said_or_not_understood_is_named(tmp_path):
    with pytest.raises(
        ValueError, match="class 'CrossCoder' cannot be read; those of AutoEncoder,"
    ):
        load_sae(saved(tmp_path, "CrossCoder", LINEAR))
    with pytest.raises(ValueError, match="which hook it reads; pass hook="):
        load_sae(saved(tmp_path, "AutoEncoder", LINEAR | {"bias": W["b_dec"]}, submodule_name=None))
    with pytest.raises(ValueError, match="lacks the tensor 'b_dec'"):
        load_sae(saved(tmp_path, "BatchTopKSAE", LINEAR))
    assert D < F
