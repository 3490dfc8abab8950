"""SAEs go to disk and back, and files that are broken or changed are refused."""

import json
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from sae_widgets.formats import load_sae, save_sae
from sae_widgets.sae import SAE, ConstantNorm, GroupMax, JumpReLU, LayerNorm, Relu, TopK


def transcoder(**more):
    return SAE(4, 5, "in", pre_bias=False, d_in=3, hook_out="out", **more)


@pytest.mark.parametrize(
    ("architecture", "sae"),
    [
        ("transcoder", transcoder()),
        ("skip_transcoder", transcoder(skip=True)),
        ("jumprelu_transcoder", transcoder(activation=JumpReLU(torch.rand(5)))),
        ("jumprelu_skip_transcoder", transcoder(activation=JumpReLU(torch.rand(5)), skip=True)),
        ("topk", SAE(4, 5, "in", TopK(2), normalization=LayerNorm())),
        ("standard", SAE(4, 5, "in", normalization=ConstantNorm())),
        ("jumprelu", SAE(4, 5, "in", JumpReLU(torch.tensor([-1.0, 0.5, 0.0, 2.0, 0.1])))),
    ],
)
def test_every_kind_that_saelens_has_a_name_for_comes_back(tmp_path, architecture, sae):
    with torch.no_grad():
        for number, parameter in enumerate(sae.parameters()):
            parameter.copy_(torch.randn(parameter.shape) + number / 10)
    save_sae(sae, tmp_path / "s")
    assert json.loads((tmp_path / "s" / "cfg.json").read_text())["architecture"] == architecture
    back = load_sae(tmp_path / "s")
    assert (back.hook, back.hook_out) == (sae.hook, sae.hook_out)
    x = torch.randn(7, sae.d_in)
    torch.testing.assert_close(back.encode(x), sae.encode(x))
    torch.testing.assert_close(back(x), sae(x))


@pytest.mark.parametrize(
    ("sae", "message"),
    [
        (SAE(4, 6, "in", GroupMax(3)), "no place for an SAE with GroupMax"),
        (SAE(4, 6, "in", skip=True), "no place for an SAE with Relu and a skip connection"),
        (transcoder(activation=TopK(2)), "no place for a transcoder with TopK"),
    ],
)
def test_what_saelens_has_no_name_for_is_not_saved_as_something_else(tmp_path, sae, message):
    with pytest.raises(ValueError, match=message):
        save_sae(sae, tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "activation", [Relu(), TopK(3), JumpReLU(torch.tensor([0.1, 0.2, 0.0, 0.4, 0.3]))]
)
def test_what_is_saved_comes_back(tmp_path, activation):
    sae = SAE(
        4,
        5,
        "blocks.0.attn.hook_z",
        activation,
        pre_bias=False,
        name="five",
        title="Five features",
        placebo="random directions",
        provenance={"seed": 3, "model": "tiny"},
    )
    save_sae(sae, tmp_path / "five")
    back = load_sae(tmp_path / "five")
    for name, tensor in sae.state_dict().items():
        assert torch.equal(back.state_dict()[name], tensor)
    x = torch.randn(7, 4)
    # Where weights lie in memory decides how the last bit of a sum is rounded.
    torch.testing.assert_close(back.encode(x), sae.encode(x))
    torch.testing.assert_close(back(x), sae(x))
    for name in ("hook", "pre_bias", "name", "title", "placebo", "provenance", "stats"):
        assert getattr(back, name) == getattr(sae, name)
    assert not any(parameter.requires_grad for parameter in back.parameters())


def test_statistics_come_back(tmp_path, sae):
    back = load_sae(save_sae(sae, tmp_path / "s"))
    for name in ("peak", "density", "mean", "histogram"):
        assert torch.equal(getattr(back.stats, name), getattr(sae.stats, name))
    assert (back.stats.norm, back.stats.tokens) == (3.0, 1000)


def test_sixteen_bit_weights_load_as_float32(tmp_path, sae):
    small = save_sae(sae, tmp_path / "small", dtype=torch.float16)
    assert load_file(small / "sae_weights.safetensors")["W_enc"].dtype == torch.float16
    assert load_sae(small).W_enc.dtype == torch.float32


def test_the_folder_is_one_that_saelens_reads(tmp_path):
    folder = save_sae(tiny.make_sae("blocks.1.attn.hook_z"), tmp_path / "s")
    config = json.loads((folder / "cfg.json").read_text())
    assert config["architecture"] == "standard"
    assert (config["d_in"], config["d_sae"]) == (16, 32)
    assert config["reshape_activations"] == "hook_z"
    assert config["metadata"]["hook_name"] == "blocks.1.attn.hook_z"
    tensors = load_file(folder / "sae_weights.safetensors")
    assert {name: tuple(t.shape) for name, t in tensors.items()} == {
        "W_enc": (16, 32),
        "b_enc": (32,),
        "W_dec": (32, 16),
        "b_dec": (16,),
    }


def test_a_saelens_folder_without_our_fields_loads(tmp_path, sae):
    folder = save_sae(sae, tmp_path / "theirs")
    (folder / "stats.safetensors").unlink()
    config = json.loads((folder / "cfg.json").read_text())
    del config["metadata"]["sae_widgets"]
    config["metadata"] |= {"model_name": "gpt2-small", "neuronpedia_id": "gpt2-small/6-res-jb"}
    (folder / "cfg.json").write_text(json.dumps(config))
    back = load_sae(folder)
    assert (back.name, back.stats) == ("theirs", None)
    assert back.provenance["model"] == "gpt2-small"
    assert back.provenance["neuronpedia"] == "gpt2-small/6-res-jb"


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path, sae):
    save_sae(sae, tmp_path / "s")
    with torch.no_grad():
        sae.b_enc[3] = 9.0
    save_sae(sae, tmp_path / "s")
    assert load_sae(tmp_path / "s").b_enc[3] == 9.0
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_saving_over_something_else_is_refused(tmp_path, sae):
    (tmp_path / "thesis.txt").write_text("important")
    with pytest.raises(FileExistsError, match="something that is not an SAE"):
        save_sae(sae, tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "important"


def test_a_save_that_fails_leaves_the_old_one(tmp_path, sae, monkeypatch):
    save_sae(sae, tmp_path / "s")
    monkeypatch.setattr("sae_widgets.formats.own._to_config", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save_sae(sae, tmp_path / "s")
    load_sae(tmp_path / "s")
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("name", ["sae_weights.safetensors", "stats.safetensors"])
def test_a_truncated_file_is_refused_by_its_hash(tmp_path, sae, name):
    path = save_sae(sae, tmp_path / "s") / name
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"not the file that was saved.*truncated, corrupted"):
        load_sae(tmp_path / "s")


def test_another_seed_in_the_same_place_is_refused_by_its_hash(tmp_path, sae):
    folder = save_sae(sae, tmp_path / "s")
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    tensors["W_dec"] = torch.randn(32, 16)
    save_file(tensors, path)
    with pytest.raises(ValueError, match="not the file that was saved"):
        load_sae(folder)


def without_hashes(folder, **changes):
    config = json.loads((folder / "cfg.json").read_text())
    del config["metadata"]["sae_widgets"]["sha256"]
    (folder / "cfg.json").write_text(json.dumps({**config, **changes}))
    return folder


def test_a_truncated_file_without_a_hash_is_refused(tmp_path, sae):
    folder = without_hashes(save_sae(sae, tmp_path / "s"))
    path = folder / "sae_weights.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ValueError, match=r"sae_weights\.safetensors is corrupt or truncated"):
        load_sae(folder)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="corrupt or truncated"):
        load_sae(folder)


def test_files_that_are_missing_or_wrong_are_named(tmp_path, sae):
    with pytest.raises(FileNotFoundError, match="it is not a folder"):
        load_sae(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"no file of weights.*found: nothing"):
        load_sae(tmp_path)
    folder = save_sae(sae, tmp_path / "s")
    text = (folder / "cfg.json").read_text()
    (folder / "cfg.json").write_text(text[:100])
    with pytest.raises(ValueError, match=r"cfg\.json is corrupt or truncated"):
        load_sae(folder)
    (folder / "cfg.json").write_text("{}")
    with pytest.raises(ValueError, match=r"no format.*holds W_dec \(32, 16\).*has \[\]"):
        load_sae(folder)
    (folder / "cfg.json").write_text(text)
    (folder / "sae_weights.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file of weights.*found: cfg\.json, stats"):
        load_sae(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "temporal"}, "'temporal' cannot be read; standard, gated, jumprelu"),
        ({"architecture": "jumprelu"}, "lacks the tensor 'threshold'"),
        ({"normalize_activations": "whitening"}, "'whitening', which is not supported"),
        ({"metadata": {}}, "does not say which hook.*pass hook= to load_sae"),
    ],
)
def test_configurations_that_are_not_understood_say_so(tmp_path, sae, changes, message):
    folder = without_hashes(save_sae(sae, tmp_path / "s"), **changes)
    with pytest.raises(ValueError, match=message):
        load_sae(folder)


def test_shapes_that_disagree_are_refused(tmp_path, sae):
    folder = without_hashes(save_sae(sae, tmp_path / "s"))
    path = folder / "sae_weights.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "b_enc": torch.zeros(31)}, path)
    with pytest.raises(ValueError, match=r"b_enc has shape \(31,\).*asks for \(32,\)"):
        load_sae(folder)
    del tensors["b_dec"]
    save_file(tensors, path)
    with pytest.raises(ValueError, match="lacks the tensor 'b_dec'"):
        load_sae(folder)


def test_an_sae_that_cannot_be_put_in_its_place_leaves_the_old_one_there(
    tmp_path, sae, monkeypatch
):
    save_sae(sae, tmp_path / "s")
    rename = Path.rename

    def full(self, target):
        if Path(target) == tmp_path / "s" and not self.name.endswith(".old"):
            raise OSError("no space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(OSError, match="no space"):
        save_sae(tiny.make_sae(name="other"), tmp_path / "s")
    assert load_sae(tmp_path / "s").name == sae.name
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("name", ["peak", "density", "mean", "norm", "tokens"])
@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -1.0])
def test_statistics_that_are_no_lengths_or_shares_are_named(tmp_path, sae, name, wrong):
    folder = without_hashes(save_sae(sae, tmp_path / "sae"))
    tensors = load_file(folder / "stats.safetensors")
    held = tensors[name].float()
    held[0] = wrong
    save_file({**tensors, name: held}, folder / "stats.safetensors")
    with pytest.raises(ValueError, match=rf"stats\.safetensors: {name} is to hold finite"):
        load_sae(folder)
