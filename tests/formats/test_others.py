"""Goodfire, qresearch, ckkissane, Qwen Scope."""

import pytest
import torch
from written import D, F, check, folder, inputs, numbers, plain, topk

from sae_widgets.formats import load_sae

X = inputs()
W = plain()


@pytest.mark.parametrize(
    ("name", "end", "layer"),
    [
        ("Llama-3.1-8B-Instruct-SAE-l19.pth", "_linear", 19),
        ("Llama-3.3-70B-Instruct-SAE-l50.pt", "_linear", 50),
        ("DeepSeek-R1-Distill-Llama-8B-SAE-l17.pt", "", 17),
    ],
)
def test_two_linear_maps_read_the_block_that_the_file_names(tmp_path, name, end, layer):
    tensors = {
        f"encoder{end}.weight": W["W_enc"].T,
        f"encoder{end}.bias": W["b_enc"],
        f"decoder{end}.weight": W["W_dec"].T,
        f"decoder{end}.bias": W["b_dec"],
    }
    sae = load_sae(folder(tmp_path, None, tensors, name))
    assert sae.hook == f"blocks.{layer}.hook_resid_post"
    values = (X @ W["W_enc"] + W["b_enc"]).relu()
    check(sae, values, values @ W["W_dec"] + W["b_dec"])
    (tmp_path / name).rename(tmp_path / "unnamed.pt")
    with pytest.raises(ValueError, match="which hook it reads; pass hook="):
        load_sae(tmp_path)


def test_ckkissane_s_read_the_heads_side_by_side(tmp_path):
    w = plain(W_enc=numbers(6, F), W_dec=numbers(F, 6), b_dec=numbers(6))
    hook = "blocks.5.attn.hook_z"
    config = {"act_size": 6, "dict_size": F, "act_name": hook, "layer": 5}
    folder(tmp_path, config, w, "gpt2-small_L5_Hcat_z.pt", "gpt2-small_L5_Hcat_z_cfg.json")
    sae = load_sae(tmp_path / "gpt2-small_L5_Hcat_z.pt")
    assert (sae.hook, sae.name) == (hook, "gpt2-small_L5_Hcat_z")
    z = numbers(2, 3, 2, 3)
    x = z.reshape(2, 3, 6)
    values = ((x - w["b_dec"]) @ w["W_enc"] + w["b_enc"]).relu()
    check(sae, values, values @ w["W_dec"] + w["b_dec"], x)
    torch.testing.assert_close(sae.flatten(z), x)


@pytest.mark.parametrize("turned", [True, False])
def test_qwen_scope_keeps_k_in_the_repository_s_name_and_either_order_of_matrices(tmp_path, turned):
    w = W | {"W_enc": W["W_enc"].T, "W_dec": W["W_dec"].T} if turned else W
    path = folder(tmp_path / "SAE-Res-Qwen3-1.7B-Base-W32K-L0_2", None, w, "layer7.sae.pt")
    sae = load_sae(path)
    assert sae.hook == "blocks.7.hook_resid_post"
    values = topk(X @ W["W_enc"] + W["b_enc"], 2)
    check(sae, values, values @ W["W_dec"] + W["b_dec"])
    with pytest.raises(ValueError, match=r"how many features fire \(k\); pass k="):
        load_sae(folder(tmp_path / "copied", None, w, "layer7.sae.pt"))
    assert D < F
