"""SAEs written by SAELens, sparsify and dictionary_learning themselves, and read by us.

    python tests/parity/formats.py FOLDER      # FOLDER: where its environment is, or is to be made

makes a virtual environment in FOLDER with those libraries (some gigabytes: they bring torch), has
each write SAEs of every kind it knows, reads them with `load_sae`, and compares what both encode
and decode. Then SAEs that we save are loaded by SAELens. SAELens's files of versions 2 to 5 are
written by those versions, each put into a folder of its own.

Prints JSON: for each case the largest differences of values and of reconstructions, as shares of
the largest of each; exits with 1 if one is above 1e-5.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
NEEDED = [
    "torch==2.13.*",
    "sae-lens==6.54.12",
    "transformer-lens==3.9.*",
    "eai-sparsify==1.3.3",
    "dictionary-learning==0.1.0",
    "jaxtyping>=0.3",
    "lazy-loader>=0.6",
]
OLD = ("2.1.3", "3.22.2", "4.4.5", "5.11.0")

D, F, OUT = 24, 56, 20
HOOK, HOOK_OUT = "blocks.3.hook_resid_post", "blocks.3.hook_mlp_out"


def main(folder: Path) -> int:
    python = folder / "bin" / "python"
    if Path(sys.executable) != python:
        if not python.exists():
            make(folder)
        # An older module would hide ours.
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1"}
        environment["SPARSIFY_DISABLE_TRITON"] = "1"  # there need not be a GPU
        done = subprocess.run([python, __file__, folder], env=environment, check=False)
        return done.returncode
    with tempfile.TemporaryDirectory() as scratch:
        found = dict(cases(folder, Path(scratch)))
    print(json.dumps(found, indent=2))
    largest = max(max(each.values()) for each in found.values())
    print(json.dumps({"cases": len(found), "largest": largest}))
    return int(largest > 1e-5)


def make(folder: Path) -> None:
    """The environment, and older versions of SAELens beside it."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q"]
    subprocess.run([*pip, *NEEDED], check=True)
    for version in OLD:
        where = folder / f"saelens-{version}"
        subprocess.run([*pip, "--no-deps", "--target", where, f"sae-lens=={version}"], check=True)


Case = tuple[str, dict[str, float]]


def cases(folder: Path, scratch: Path) -> Iterator[Case]:
    """Each case's name, and its largest differences as shares of the largest value."""
    yield from saelens(scratch)
    yield from saelens_in_training(scratch)
    yield from saelens_in_memory()
    for version in OLD:
        yield from saelens_before_6(folder / f"saelens-{version}", version, scratch)
    yield from sparsify(scratch)
    yield from dictionary_learning(scratch)
    yield from ours_in_saelens(scratch)


def shake(module: Any, seed: int) -> Any:
    """Give every parameter numbers of its own: a library starts with biases of zero."""
    import torch

    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            spread = 0.3 if parameter.ndim == 2 else 1.0
            parameter.copy_(torch.randn_like(parameter) * spread)
            if name == "threshold":
                parameter.abs_()
    return module.requires_grad_(False)


def inputs(shape: tuple[int, ...] = (64, D)) -> Any:
    import torch

    return torch.randn(*shape, generator=torch.Generator().manual_seed(7)) * 3 + 0.5


def compared(name: str, sae: Any, values: Any, output: Any, x: Any) -> Case:
    """How far `sae` is from `values` and `output`, as a share of the largest of each."""
    ours, values, output = sae.encode(x), values.detach(), output.detach()
    firing = float((values > 0).float().mean())
    assert 0.01 < firing < 0.99, f"{name}: {firing:.0%} fire, which compares nothing"
    return name, {
        "encode": float((ours - values).abs().max() / values.abs().max()),
        "decode": float((sae(x) - output).abs().max() / output.abs().max()),
    }


# SAELens 6

KINDS: dict[str, dict[str, Any]] = {
    "standard": {},
    "standard, layer norm": {"architecture": "standard", "normalize_activations": "layer_norm"},
    "standard, constant norm": {
        "architecture": "standard",
        "normalize_activations": "constant_norm_rescale",
    },
    "standard, no bias taken": {"architecture": "standard", "apply_b_dec_to_input": False},
    "gated": {},
    "jumprelu": {},
    "topk": {"k": 5},
    "topk by length": {"architecture": "topk", "k": 5, "rescale_acts_by_decoder_norm": True},
    "transcoder": {},
    "skip_transcoder": {},
    "jumprelu_transcoder": {},
    "jumprelu_skip_transcoder": {},
}


def theirs(kind: str, seed: int = 0, hook: str = HOOK, **more: Any) -> Any:
    """An SAE of SAELens with numbers everywhere."""
    from sae_lens.registry import get_sae_class
    from sae_lens.saes.sae import SAEMetadata

    options = {"architecture": kind, **KINDS[kind], **more}
    architecture = options.pop("architecture")
    transcoder = architecture.endswith("transcoder")
    out = {"d_out": OUT, "apply_b_dec_to_input": False} if transcoder else {}
    metadata = SAEMetadata(hook_name=hook, hook_name_out=HOOK_OUT, model_name="gpt2-small")
    made, config = get_sae_class(architecture)
    return shake(made(config(d_in=D, d_sae=F, metadata=metadata, **out, **options)), seed)


def saelens(scratch: Path) -> Iterator[Case]:
    from sae_widgets.formats import load_sae

    for seed, kind in enumerate(KINDS):
        sae = theirs(kind, seed)
        sae.save_model(scratch / kind)
        x = inputs()
        yield compared(f"SAELens 6, {kind}", load_sae(scratch / kind), sae.encode(x), sae(x), x)

    scaled = theirs("gated", normalize_activations="expected_average_only_in")
    scaled.save_model(scratch / "scaled")
    read = load_sae(scratch / "scaled", scale=0.25)
    scaled.fold_activation_norm_scaling_factor(0.25)
    x = inputs()
    yield compared("SAELens 6, gated, scaled", read, scaled.encode(x), scaled(x), x)

    hook = "blocks.3.attn.hook_z"
    heads = theirs("standard", hook=hook, reshape_activations="hook_z")
    heads.save_model(scratch / "heads")
    read, z = load_sae(scratch / "heads"), inputs((64, 4, D // 4))
    values, output = heads.encode(z), heads(z)
    yield compared("SAELens 6, hook_z", read, values, output.flatten(1), read.flatten(z))


def saelens_in_training(scratch: Path) -> Iterator[Case]:
    """Checkpoints, and what is saved when training ends: compared with the latter in SAELens."""
    import torch
    from sae_lens import SAE
    from sae_lens.registry import get_sae_training_class

    from sae_widgets.formats import load_sae

    for kind, more in {
        "standard": {},
        "gated": {},
        "jumprelu": {},
        "topk": {"k": 5},
        "batchtopk": {"k": 5},
        "matryoshka_batchtopk": {"k": 5, "matryoshka_widths": [16, F]},
    }.items():
        made, config = get_sae_training_class(kind)
        sae = shake(made(config(d_in=D, d_sae=F, **more)), 3)
        sae.cfg.metadata.hook_name = HOOK
        if hasattr(sae, "topk_threshold"):
            sae.topk_threshold = torch.tensor(1.5, dtype=torch.float64)
        sae.save_model(scratch / kind / "training")
        sae.save_inference_model(scratch / kind / "finished")
        reference, x = SAE.load_from_disk(scratch / kind / "finished"), inputs()
        values, output = reference.encode(x), reference(x)
        for state in ("training", "finished"):
            read = load_sae(scratch / kind / state)
            if kind == "topk" and state == "training":
                assert read.W_dec.norm(dim=1).allclose(torch.ones(F))
            yield compared(f"SAELens 6, {kind}, {state}", read, values, output, x)


def saelens_in_memory() -> Iterator[Case]:
    from sae_widgets.formats import as_sae

    for kind in ("gated", "topk by length", "jumprelu_skip_transcoder", "standard, layer norm"):
        sae, x = theirs(kind), inputs()
        yield compared(f"SAELens 6, {kind}, in memory", as_sae(sae), sae.encode(x), sae(x), x)


# SAELens 2 to 5

START = """
import sys
import torch
from safetensors.torch import save_file
folder, d, f = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def write(kind, sae, seed):
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sae.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.3 if parameter.ndim == 2 else 1.0))
            if name == "threshold" or name.endswith("scaling_factor"):
                parameter.abs_()
    x = torch.randn(64, d, generator=torch.Generator().manual_seed(7)) * 3 + 0.5
    given = x.reshape(64, 4, d // 4) if kind == "heads" else x
    with torch.no_grad():
        values = sae.encode(given)
        output = sae.decode(values).reshape(64, d)
    sae.save_model(f"{folder}/{kind}")
    made = {"values": values.contiguous(), "output": output.contiguous()}
    save_file(made, f"{folder}/{kind}.sft")
"""

WRITE_2 = (
    START
    + """
from sae_lens.training.config import LanguageModelSAERunnerConfig as Config
from sae_lens.training.sparse_autoencoder import SparseAutoencoder
config = object.__new__(Config)  # as it is made, it asks for a data set
for each in Config.__dataclass_fields__.values():
    if not callable(each.default_factory):
        setattr(config, each.name, each.default)
config.__dict__.update(
    d_in=d, d_sae=f, hook_point="blocks.3.hook_resid_pre", hook_point_layer=3, dtype=torch.float32
)
write("finetuned", SparseAutoencoder(config), 0)
"""
)

WRITE = (
    START
    + """
from sae_lens.sae import SAE, SAEConfig
kinds = {
    "standard": {}, "gated": {}, "jumprelu": {}, "finetuned": {"finetuning_scaling_factor": True},
    "topk": {"activation_fn_str": "topk", "activation_fn_kwargs": {"k": 5}},
    "heads": {"hook_name": "blocks.3.attn.hook_z"},
    "rescaled": {"normalize_activations": "constant_norm_rescale"},
}
for seed, (kind, more) in enumerate(kinds.items()):
    common = dict(
        architecture=kind if kind in ("gated", "jumprelu") else "standard", d_in=d, d_sae=f,
        activation_fn_str="relu", apply_b_dec_to_input=True, finetuning_scaling_factor=False,
        context_size=128, model_name="gpt2-small", hook_name="blocks.3.hook_resid_post",
        hook_layer=3, hook_head_index=None, prepend_bos=True, dataset_path="none",
        dataset_trust_remote_code=False, normalize_activations="none", dtype="float32",
        device="cpu", sae_lens_training_version=None,
    )
    write(kind, SAE(SAEConfig(**{**common, **more})), seed)
"""
)


def saelens_before_6(library: Path, version: str, scratch: Path) -> Iterator[Case]:
    """Files that an older version wrote, and what it made of the same inputs."""
    from safetensors.torch import load_file

    from sae_widgets.formats import load_sae

    folder = scratch / version
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(library)}
    script = WRITE_2 if version.startswith("2.") else WRITE
    command = [sys.executable, "-W", "ignore", "-c", script, str(folder), str(D), str(F)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"SAELens {version} did not write its SAEs:\n{done.stderr}")
    x = inputs()
    for file in sorted(folder.glob("*.sft")):
        made = load_file(file)
        read = load_sae(folder / file.stem)
        yield compared(f"SAELens {version}, {file.stem}", read, made["values"], made["output"], x)


# sparsify


def sparsify(scratch: Path) -> Iterator[Case]:
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    from sae_widgets.formats import load_sae

    kinds: dict[str, dict[str, Any]] = {
        "topk": {},
        "groupmax": {"activation": "groupmax", "k": 8},
        "skip connection": {"skip_connection": True},
        "transcoder": {"transcode": True},
        "skip transcoder": {"transcode": True, "skip_connection": True},
        "decoder not normalised": {"normalize_decoder": False},
    }
    for seed, (kind, more) in enumerate(kinds.items()):
        coder = SparseCoder(D, SparseCoderConfig(**{"num_latents": F, "k": 5, **more}))
        shake(coder, seed)
        name = "layers.3.mlp" if "transcode" in more else "layers.3"
        coder.save_to_disk(scratch / f"sparsify {kind}" / name)
        read, x = load_sae(scratch / f"sparsify {kind}" / name), inputs()
        encoded = coder.encode(x)
        values = torch.zeros(len(x), F).scatter(1, encoded.top_indices, encoded.top_acts)
        yield compared(f"sparsify, {kind}", read, values, coder(x).sae_out, x)


# dictionary_learning


def dictionary_learning(scratch: Path) -> Iterator[Case]:
    """A few steps of each of its trainers, so that it writes both files itself."""
    import torch
    from dictionary_learning import dictionary as d
    from dictionary_learning.trainers import batch_top_k, gdm, jumprelu, standard, top_k
    from dictionary_learning.trainers import matryoshka_batch_top_k as nested
    from dictionary_learning.training import trainSAE

    from sae_widgets.formats import load_sae

    common = {
        "activation_dim": D,
        "dict_size": F,
        "layer": 3,
        "lm_name": "gpt2",
        "steps": 30,
        "device": "cpu",
        "submodule_name": "resid_post_layer_3",
        "warmup_steps": 2,
        "lr": 1e-2,
    }
    sparse = {"sparsity_warmup_steps": 4}
    threshold = {"threshold_start_step": 5}
    trained: list[tuple[Callable[..., Any], dict[str, Any], Any]] = [
        (standard.StandardTrainer, sparse, d.AutoEncoder),
        (standard.StandardTrainerAprilUpdate, sparse, d.AutoEncoder),
        (gdm.GatedSAETrainer, sparse, d.GatedAutoEncoder),
        (top_k.TopKTrainer, {"k": 5, **threshold}, top_k.AutoEncoderTopK),
        (batch_top_k.BatchTopKTrainer, {"k": 5, **threshold}, batch_top_k.BatchTopKSAE),
        (
            nested.MatryoshkaBatchTopKTrainer,
            {"k": 5, "group_fractions": [0.25, 0.75], **threshold},
            nested.MatryoshkaBatchTopKSAE,
        ),
        (jumprelu.JumpReluTrainer, {**sparse, "target_l0": 8}, d.JumpReluAutoEncoder),
    ]
    torch.manual_seed(11)
    data = [torch.randn(128, D) * 3 + 0.5 for _ in range(31)]
    configs = [{"trainer": trainer, **common, **more} for trainer, more, _ in trained]
    trainSAE(data, configs, steps=30, save_dir=str(scratch / "dl"), device="cpu")
    x = inputs()
    for number, (trainer, _, made) in enumerate(trained):
        folder = scratch / "dl" / f"trainer_{number}"
        reference = made.from_pretrained(str(folder / "ae.pt")).requires_grad_(False)
        values, output = reference.encode(x), reference(x)
        name = f"dictionary_learning, {made.__name__} of {trainer.__name__}"
        yield compared(name, load_sae(folder), values, output, x)

    new = shake(d.AutoEncoderNew(D, F), 5)  # which no trainer of this version makes
    torch.save(new.state_dict(), scratch / "new.pt")
    (scratch / "new_cfg.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoderNew"}}))
    read = load_sae(scratch / "new.pt", hook=HOOK)
    yield compared("dictionary_learning, AutoEncoderNew", read, new.encode(x), new(x), x)


# Ours in SAELens


def ours_in_saelens(scratch: Path) -> Iterator[Case]:
    import torch
    from sae_lens import SAE as Theirs

    from sae_widgets.formats import as_sae, save_sae
    from sae_widgets.sae import SAE, ConstantNorm, JumpReLU, LayerNorm, TopK

    out = {"hook_out": HOOK_OUT, "d_in": D, "pre_bias": False}
    made = {
        "Relu": SAE(D, F, HOOK),
        "JumpReLU": SAE(D, F, HOOK, JumpReLU(torch.rand(F) * 3)),
        "TopK": SAE(D, F, HOOK, TopK(5), pre_bias=False),
        "layer norm": SAE(D, F, HOOK, TopK(5), normalization=LayerNorm()),
        "constant norm": SAE(D, F, HOOK, normalization=ConstantNorm()),
        "transcoder": SAE(OUT, F, HOOK, **out),
        "skip transcoder": SAE(OUT, F, HOOK, **out, skip=True),
        "JumpReLU skip transcoder": SAE(OUT, F, HOOK, JumpReLU(torch.rand(F)), **out, skip=True),
    }
    for seed, (kind, sae) in enumerate(made.items()):
        shake(sae, seed)
        reference, x = Theirs.load_from_disk(save_sae(sae, scratch / f"ours {kind}")), inputs()
        reference.requires_grad_(False)
        yield compared(f"ours in SAELens, {kind}", sae, reference.encode(x), reference(x), x)

    gated = as_sae(theirs("gated"))
    reference, x = Theirs.load_from_disk(save_sae(gated, scratch / "ours gated")), inputs()
    reference.requires_grad_(False)
    yield compared("ours in SAELens, gated", gated, reference.encode(x), reference(x), x)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.exit(main(Path(sys.argv[1]).absolute()))
