"""Finding an SAE among files, and files that are broken, hostile, or something else."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from written import D, F, folder, inputs, plain

from sae_widgets.formats import load_sae, save_sae
from sae_widgets.formats.load import FORMATS

CONFIG = {"architecture": "standard", "metadata": {"hook_name": "blocks.1.hook_x"}}
HOOK = "blocks.1.hook_x"


def saved(path):
    return folder(path / "one", CONFIG, plain(), "sae_weights.safetensors")


def test_a_folder_of_several_says_which_there_are(tmp_path):
    for layer in (3, 10):
        config = {"k": 2, "activation": "topk"}
        tensors = {"encoder.weight": plain()["W_enc"].T, "encoder.bias": plain()["b_enc"]}
        tensors |= {name: plain()[name] for name in ("W_dec", "b_dec")}
        folder(tmp_path / f"layers.{layer}", config, tensors, "sae.safetensors")
    with pytest.raises(ValueError, match=r"several SAEs: 'layers\.10', 'layers\.3'\. Say which"):
        load_sae(tmp_path)
    assert load_sae(tmp_path, "layers.3").hook == "blocks.3.hook_resid_post"
    assert load_sae(tmp_path, "layers.3/sae.safetensors").name == "sae"
    with pytest.raises(FileNotFoundError, match=r"there is no 'layers\.4' in"):
        load_sae(tmp_path, "layers.4")


def test_what_lies_beside_weights_is_not_taken_for_them(tmp_path):
    path = saved(tmp_path)
    save_file({"sparsity": torch.zeros(F)}, path / "sparsity.safetensors")
    save_file({"x": torch.zeros(3)}, path / "activations_store_state.safetensors")
    torch.save({"step": 3}, path / "trainer_state.pt")
    assert load_sae(path).d_sae == F


def test_a_name_can_be_given_and_a_path_can_be_text(tmp_path):
    path = saved(tmp_path)
    assert load_sae(str(path), name="mine").name == "mine"
    assert load_sae(path / "sae_weights.safetensors").name == "sae_weights"
    with pytest.raises(FileNotFoundError, match=r"it is not a folder, not a file, and no repos"):
        load_sae("one/two/three")
    with pytest.raises(FileNotFoundError, match=r"SAELens gives names to .*SAE\.from_pretrained"):
        load_sae("gpt2-small-res-jb")


@pytest.mark.parametrize(
    "path", ["./nothing", "../x", "/no/such", "a.safetensors", "C:\\x", "a--b/c"]
)
def test_a_path_where_nothing_is_is_not_asked_of_the_hub(path):
    with pytest.raises(FileNotFoundError, match=r"there is no SAE at .*not a folder, not a file"):
        load_sae(path)


def test_what_is_passed_goes_before_what_the_files_say(tmp_path):
    path = saved(tmp_path)
    assert load_sae(path, hook="blocks.2.hook_x").hook == "blocks.2.hook_x"
    assert load_sae(path, k=3).activation.k == 3
    assert load_sae(path, threshold=0.5).activation.threshold.tolist() == [0.5] * F


def test_what_is_passed_and_cannot_be_obeyed_is_refused(tmp_path):
    path = saved(tmp_path)
    with pytest.raises(ValueError, match=r"hook_out='blocks\.1\.hook_y' is for a transcoder"):
        load_sae(path, hook_out="blocks.1.hook_y")
    with pytest.raises(ValueError, match="8 features cannot fire of the 7 there are"):
        load_sae(path, k=8)


def test_an_sae_of_centred_activations_can_read_others(tmp_path):
    path = saved(tmp_path)
    plainly, sae = load_sae(path), load_sae(path, centred=True)
    x, mean = inputs(), inputs().mean(-1, keepdim=True)
    torch.testing.assert_close(sae.encode(x), plainly.encode(x - mean))
    torch.testing.assert_close(sae(x), plainly(x - mean) + mean)
    again = load_sae(save_sae(sae, tmp_path / "again"))
    torch.testing.assert_close(again(x), sae(x))
    (path / "cfg.json").write_text(json.dumps({**CONFIG, "normalize_activations": "layer_norm"}))
    with pytest.raises(ValueError, match="this one normalises them or is a transcoder"):
        load_sae(path, centred=True)


def test_an_unknown_format_says_what_was_found_and_what_can_be_read(tmp_path):
    path = folder(tmp_path / "odd", {"colour": "red"}, {"atoms": torch.zeros(3, 4)}, "odd.pt")
    with pytest.raises(ValueError) as error:
        load_sae(path)
    found = ("odd.pt is of no format", "atoms (3, 4)", "cfg.json, has ['colour']")
    for part in (*found, *(each.NAME for each in FORMATS)):
        assert part in str(error.value)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pt"])
@pytest.mark.parametrize("damage", ["cut", "empty", "noise"])
def test_a_broken_file_is_named(tmp_path, suffix, damage):
    path = tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(plain(), path)
    elif suffix == ".npz":
        np.savez(path, **{name: tensor.numpy() for name, tensor in plain().items()})
    else:
        torch.save(plain(), path)
    data = path.read_bytes()
    broken = {"cut": data[: len(data) // 2], "empty": b"", "noise": os.urandom(300)}
    path.write_bytes(broken[damage])
    with pytest.raises(ValueError, match=rf"weights{suffix} .*corrupt or truncated"):
        load_sae(path)


class Trap:
    """Does something when it is unpickled."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return (os.mkdir, (str(self.target),))


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    trap = tmp_path / "trap"
    torch.save({**plain(), "extra": Trap(trap)}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"a Python object.*\(posix\.mkdir\), which could run"):
        load_sae(tmp_path / "a.pt")
    (tmp_path / "b.pt").write_bytes(pickle.dumps({"W_enc": Trap(trap)}, protocol=2))
    with pytest.raises(ValueError, match=r"\(posix\.mkdir\), which could run"):
        load_sae(tmp_path / "b.pt")
    objects = np.array([Trap(trap)], dtype=object)
    np.savez(tmp_path / "c.npz", W_enc=objects)
    with pytest.raises(ValueError, match="Python objects, which could run code"):
        load_sae(tmp_path / "c.npz")
    assert not trap.exists()


def test_a_whole_module_is_refused_with_a_way_out(tmp_path):
    torch.save(torch.nn.Linear(D, F), tmp_path / "module.pt")
    with pytest.raises(ValueError, match=r"save its state_dict\(\) as safetensors"):
        load_sae(tmp_path / "module.pt")
    torch.save([torch.zeros(3)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"holds a list where tensors by name"):
        load_sae(tmp_path / "list.pt")


def test_a_file_of_an_old_torch_is_read(tmp_path):
    tensors = {
        "encoder_linear.weight": plain()["W_enc"].T,
        "encoder_linear.bias": plain()["b_enc"],
        "decoder_linear.weight": plain()["W_dec"].T,
        "decoder_linear.bias": plain()["b_dec"],
    }
    path = tmp_path / "old-l3.pt"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    assert not zipfile.is_zipfile(path)
    assert torch.equal(load_sae(path).W_dec, plain()["W_dec"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "corrupt or truncated"),
        ("[1, 2]", "holds a list"),
        ('{"architecture": ', "corrupt or truncated"),
        ("\udcff", "corrupt or truncated"),
    ],
)
def test_a_configuration_that_is_none_is_named(tmp_path, text, message):
    path = saved(tmp_path)
    (path / "cfg.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=rf"cfg\.json.*{message}"):
        load_sae(path)


def test_a_configuration_of_the_wrong_kinds_is_refused(tmp_path):
    path = saved(tmp_path)
    for wrong in ({"k": "many"}, {"k": True}, {"k": -2}, {"k": 2.5}):
        config = {**CONFIG, "architecture": "topk", **wrong}
        (path / "cfg.json").write_text(json.dumps(config))
        with pytest.raises(ValueError, match=r"no number from 1; pass k="):
            load_sae(path)
    (path / "cfg.json").write_text(json.dumps({**CONFIG, "metadata": "none"}))
    with pytest.raises(ValueError, match="does not say which hook"):
        load_sae(path)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("W_enc", (D, F + 1)),
        ("W_enc", (F, D)),
        ("b_enc", (1,)),
        ("b_dec", (F,)),
        ("W_dec", (F,)),
    ],
)
def test_a_shape_that_does_not_fit_the_others_is_named(tmp_path, name, shape):
    path = saved(tmp_path)
    save_file(plain(**{name: torch.zeros(shape)}), path / "sae_weights.safetensors")
    with pytest.raises(ValueError, match=rf"{name} ha(s|ve) shape"):
        load_sae(path)


def test_whole_numbers_are_no_weights(tmp_path):
    path = saved(tmp_path)
    wrong = plain(W_enc=torch.zeros(D, F, dtype=torch.int32))
    save_file(wrong, path / "sae_weights.safetensors")
    with pytest.raises(ValueError, match=r"W_enc holds torch\.int32, not real numbers"):
        load_sae(path)


def test_weights_keep_their_type_if_asked_and_are_float32_if_not(tmp_path):
    path = saved(tmp_path)
    half = {name: tensor.bfloat16() for name, tensor in plain().items()}
    save_file(half, path / "sae_weights.safetensors")
    assert load_sae(path).W_enc.dtype == torch.float32
    kept = load_sae(path, dtype=None, threshold=0.5)
    assert {kept.W_enc.dtype, kept.b_dec.dtype, kept.activation.threshold.dtype} == {torch.bfloat16}
    assert kept.encode(inputs().bfloat16()).dtype == torch.bfloat16


def test_what_is_changed_in_memory_is_not_changed_on_disk(tmp_path):
    path = saved(tmp_path)
    sae = load_sae(path)
    sae.W_enc.fill_(9.0)
    assert torch.equal(load_file(path / "sae_weights.safetensors")["W_enc"], plain()["W_enc"])


def test_nothing_is_left_random(tmp_path):
    sae = load_sae(saved(tmp_path))
    assert all(not tensor.is_meta for tensor in sae.state_dict().values())
    buffer = io.BytesIO()
    torch.save(sae.state_dict(), buffer)
    assert buffer.tell() > 0


# What claims more than it holds


def claiming(shape, **head):
    """An .npy file of so many zeros, as `shape` says or not."""
    made = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        made, {"descr": "<f4", "fortran_order": False, "shape": shape, **head}
    )
    return made.getvalue()


def test_zeros_that_would_fill_the_memory_are_refused_without_being_unpacked(tmp_path):
    path = tmp_path / "params.npz"
    arrays = {"W_enc": np.ones((D, F)), "b_enc": np.zeros(F), "W_dec": np.ones((F, D))}
    np.savez_compressed(path, **arrays, b_dec=np.zeros(D), other=np.zeros((300, 10_000), "<f4"))
    with pytest.raises(ValueError, match=r"'other.npy' would take 12,000,000 bytes .* takes 11,"):
        load_sae(path)


def test_an_array_that_is_not_as_long_as_its_head_says_is_corrupt(tmp_path):
    path = tmp_path / "params.npz"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("W_enc.npy", claiming((10**6, 10**6)) + b"\0" * 400)
    with pytest.raises(ValueError, match="claims 4000000000000 bytes, and holds 400"):
        load_sae(path)


def test_tensors_that_say_more_than_they_hold_are_refused(tmp_path):
    path = tmp_path / "ae.pt"
    plain = {"encoder.weight": torch.ones(F, D), "decoder.weight": torch.ones(D, F)}
    with torch.sparse.check_sparse_tensor_invariants():
        sparse = torch.sparse_coo_tensor([[0], [0]], [1.0], (10**6, 10**6))
    for wrong, said in (
        (torch.ones(1).expand(10**6, 10**6), "claims 4,000,000,000,000 bytes, and holds 4"),
        (torch.ones(7).as_strided((5, 3), (1, 1)), "claims 60 bytes, and holds 28"),
        (torch.empty(10**6, 10**6, device="meta"), "is a meta tensor"),
        (sparse, "is a sparse_coo tensor"),
    ):
        torch.save({**plain, "encoder.weight": wrong}, path)
        with pytest.raises(ValueError, match=said):
            load_sae(path)


def test_a_configuration_of_many_megabytes_is_not_read(tmp_path):
    path = saved(tmp_path)
    (path / "cfg.json").write_text('{"a": "' + "x" * 10**7 + '"}')
    with pytest.raises(ValueError, match=r"cfg.json has 10,000,009 bytes; .* at most 10,000,000"):
        load_sae(path)


@pytest.mark.parametrize(
    "name",
    ["./nothing", "../nothing", "/no/such", "C:\\x", "a/b/c", "~nobody/x", "a\0b", "x" * 10**6],
)
def test_what_is_neither_here_nor_a_repository_is_said_to_be_neither(name):
    with pytest.raises(FileNotFoundError, match="it is not a folder, not a file") as found:
        load_sae(name)
    assert len(str(found.value)) < 700


def test_a_name_that_is_almost_one_of_those_there_names_them(tmp_path):
    path = saved(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"not a file \(there is '{path.name}'\)"):
        load_sae(str(path) + "s")
