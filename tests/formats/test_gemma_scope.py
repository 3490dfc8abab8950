"""Gemma Scope, the first and the second."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from written import D, F, check, inputs, numbers, plain

from sae_widgets.formats import load_sae

X = inputs()
W = plain(threshold=numbers(F, seed=70).abs())


def first(path, place="gemma-scope-2b-pt-res/layer_12/width_16k/average_l0_82", tensors=W):
    folder = path / place
    folder.mkdir(parents=True)
    np.savez(folder / "params.npz", **{name: tensor.numpy() for name, tensor in tensors.items()})
    return folder


def second(path, place="resid_post/layer_7_width_16k_l0_medium", **others):
    folder = path / place
    folder.mkdir(parents=True)
    lower = {name.lower(): tensor for name, tensor in W.items()} | others
    save_file({name: t.contiguous() for name, t in lower.items()}, folder / "params.safetensors")
    return folder


def values_of(x):
    pre = x @ W["W_enc"] + W["b_enc"]
    return pre * (pre > W["threshold"])


def test_nothing_is_taken_from_the_input_for_all_is_folded_in(tmp_path):
    sae = load_sae(first(tmp_path))
    check(sae, values_of(X), values_of(X) @ W["W_dec"] + W["b_dec"])
    assert sae.provenance["l0"] == 82
    assert sae.provenance["model"] == "google/gemma-2-2b"
    assert sae.name == "average_l0_82"


def test_arrays_with_small_letters_are_the_same(tmp_path):
    lower = {name.lower(): tensor for name, tensor in W.items()}
    sae = load_sae(first(tmp_path, tensors=lower))
    check(sae, values_of(X), values_of(X) @ W["W_dec"] + W["b_dec"])


@pytest.mark.parametrize(
    ("repo", "hook", "out"),
    [
        ("gemma-scope-9b-pt-res", "blocks.3.hook_resid_post", None),
        ("gemma-scope-9b-it-res", "blocks.3.hook_resid_post", None),
        ("gemma-scope-9b-pt-mlp", "blocks.3.hook_mlp_out", None),
        ("gemma-scope-9b-pt-att", "blocks.3.attn.hook_z", None),
        ("models--google--gemma-scope-9b-pt-res/snapshots/abc", "blocks.3.hook_resid_post", None),
        (
            "gemma-scope-2b-pt-transcoders",
            "blocks.3.ln2.hook_normalized",
            "blocks.3.hook_mlp_out",
        ),
    ],
)
def test_the_repository_and_its_folders_say_what_is_read(tmp_path, repo, hook, out):
    sae = load_sae(first(tmp_path, f"{repo}/layer_3/width_16k/average_l0_5"))
    assert (sae.hook, sae.hook_out) == (hook, out or hook)


def test_the_sae_of_the_embeddings_reads_them_before_they_are_multiplied(tmp_path):
    sae = load_sae(first(tmp_path, "gemma-scope-2b-pt-res/embedding/width_4k/average_l0_6"))
    assert sae.hook == "hook_embed"
    values = values_of(X / D**0.5)
    check(sae, values, values @ (W["W_dec"] * D**0.5) + W["b_dec"])


def test_the_second_has_small_letters_and_its_folder_says_what_is_read(tmp_path):
    sae = load_sae(second(tmp_path))
    assert sae.hook == "blocks.7.hook_resid_post"
    check(sae, values_of(X), values_of(X) @ W["W_dec"] + W["b_dec"])
    places = {
        "attn_out_all/layer_2_width_16k_l0_small": "blocks.2.attn.hook_z",
        "mlp_out/layer_2_width_16k_l0_small": "blocks.2.hook_mlp_out",
    }
    for place, hook in places.items():
        assert load_sae(second(tmp_path, place)).hook == hook


def test_a_transcoder_of_the_second_may_have_a_skip_connection_stored_the_other_way(tmp_path):
    skip = numbers(D, D, seed=71)
    place = "transcoder_all/layer_7_width_16k_l0_small_affine"
    sae = load_sae(second(tmp_path, place, affine_skip_connection=skip))
    assert (sae.hook, sae.hook_out) == ("blocks.7.mlp.hook_in", "blocks.7.hook_mlp_out")
    check(sae, values_of(X), values_of(X) @ W["W_dec"] + W["b_dec"] + X @ skip)


def test_a_place_that_says_nothing_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match="which hook it reads; pass hook="):
        load_sae(first(tmp_path, "somewhere/layer_3"))
    assert load_sae(tmp_path / "somewhere/layer_3", hook="blocks.3.hook_resid_post").d_sae == F


def test_a_cross_layer_transcoder_is_refused(tmp_path):
    path = second(tmp_path, "clt/layer_7", w_dec=torch.zeros(F, 3, D))
    with pytest.raises(ValueError, match=r"\(7, 3, 5\); those of an SAE are matrices.*cross-layer"):
        load_sae(path, hook="blocks.7.mlp.hook_in", hook_out="blocks.7.hook_mlp_out")
