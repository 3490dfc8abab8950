"""What OpenAI's sparse_autoencoder saves."""

from collections import OrderedDict

import pytest
import torch
from written import D, F, check, inputs, plain, topk

from sae_widgets.formats import load_sae

X = inputs()
W = plain()


def saved(path, location="resid_post_mlp_v5_32k", **others):
    file = path / "gpt2-small" / location / "autoencoders" / "8.pt"
    file.parent.mkdir(parents=True)
    held = {
        "pre_bias": W["b_dec"],
        "latent_bias": W["b_enc"],
        "stats_last_nonzero": torch.zeros(F, dtype=torch.long),
        "encoder.weight": W["W_enc"].T.contiguous(),
        "decoder.weight": W["W_dec"].T.contiguous(),
        **others,
    }
    torch.save(OrderedDict(held), file)
    return file


TOPK = {
    "activation": "TopK",
    "activation_state_dict": OrderedDict(k=2, postact_fn="ReLU"),
}


def test_a_topk_sae_normalises_what_it_reads_and_undoes_it(tmp_path):
    sae = load_sae(saved(tmp_path, **TOPK))
    mean = X.mean(-1, keepdim=True)
    std = (X - mean).std(-1, keepdim=True)
    seen = (X - mean) / (std + 1e-5)
    values = topk((seen - W["b_dec"]) @ W["W_enc"] + W["b_enc"], 2)
    check(sae, values, (values @ W["W_dec"] + W["b_dec"]) * std + mean)


def test_a_relu_sae_reads_activations_as_they_are(tmp_path):
    sae = load_sae(saved(tmp_path, activation="ReLU", activation_state_dict=OrderedDict()))
    values = ((X - W["b_dec"]) @ W["W_enc"] + W["b_enc"]).relu()
    check(sae, values, values @ W["W_dec"] + W["b_dec"])


@pytest.mark.parametrize(
    ("location", "hook"),
    [
        ("resid_delta_attn_v5_128k", "blocks.8.hook_attn_out"),
        ("resid_post_attn_v5_32k", "blocks.8.hook_resid_mid"),
        ("resid_delta_mlp_v5_32k", "blocks.8.hook_mlp_out"),
        ("resid_post_mlp_v5_32k", "blocks.8.hook_resid_post"),
        ("mlp_post_act", "blocks.8.mlp.hook_post"),
        ("resid_delta_mlp_v4", "blocks.8.hook_mlp_out"),
    ],
)
def test_the_path_says_what_is_read(tmp_path, location, hook):
    assert load_sae(saved(tmp_path, location, **TOPK)).hook == hook


def test_one_layer_of_a_folder_is_chosen_by_its_file(tmp_path):
    file = saved(tmp_path, **TOPK)
    file.with_name("9.pt").write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match=r"several SAEs: '8\.pt', '9\.pt'\. Say which: load_sae"):
        load_sae(file.parent)
    assert load_sae(file.parent, "9.pt").hook == "blocks.9.hook_resid_post"
    assert load_sae(file.parent, "9.pt").name == "9"


def test_what_is_not_said_or_not_understood_is_named(tmp_path):
    file = saved(tmp_path, **TOPK)
    alone = tmp_path / "alone.pt"
    alone.write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="which hook it reads; pass hook="):
        load_sae(alone)
    identity = {**TOPK, "activation_state_dict": {"k": 2, "postact_fn": "Identity"}}
    with pytest.raises(ValueError, match="'TopK' with 'Identity' is not supported"):
        load_sae(saved(tmp_path, "resid_post_mlp_v6", **identity))
    with pytest.raises(ValueError, match=r"how many features fire \(k\); pass k="):
        load_sae(saved(tmp_path, "resid_post_mlp_v7", activation="TopK"))
    tied = saved(tmp_path, "resid_post_mlp_v8", **TOPK)
    held = torch.load(tied, weights_only=True)
    del held["decoder.weight"]
    torch.save(held, tied)
    with pytest.raises(ValueError, match=r"lacks the tensor 'decoder\.weight'"):
        load_sae(tied)
    assert D < F
