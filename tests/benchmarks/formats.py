"""What reading a wide SAE costs in memory; prints JSON.

`python tests/benchmarks/formats.py [d_sae d_model]` writes SAEs of this size (131072 × 1024 if
nothing is said; 131072 × 4096 needs 5 GB of disk at a time), one format after the other, and reads
each in a process of its own. All is given in multiples of the file: `own`, the memory that the
process holds itself, and `read`, what came from the disk by then, which at first has none of the
file in memory; after the SAE is loaded, after 16 of its features have been encoded on 128
activations, and after all have been, on 4. `seconds` is how long loading takes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

HOOK = "blocks.1.hook_resid_post"
CONFIG = {"architecture": "standard", "metadata": {"hook_name": HOOK}}

READ = """
import json, os, sys, time
import torch
from sae_widgets.formats import load_sae

def counted(path, name):
    lines = dict(line.split(":") for line in open(path))
    return int(lines[name].split()[0])

def now():
    own = 1024 * counted("/proc/self/status", "RssAnon")
    return own, counted("/proc/self/io", "read_bytes")

file = os.open(sys.argv[1], os.O_RDONLY)
os.fsync(file)
os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
torch.ones(4, 8) @ torch.ones(8, 4)  # what torch needs for itself
before = now()

def told():
    return [after - then for after, then in zip(now(), before)]

dtype = None if sys.argv[3] == "kept" else torch.float32
start = time.perf_counter()
sae = load_sae(sys.argv[1], hook=sys.argv[2], dtype=dtype)
found = {"seconds": time.perf_counter() - start, "loaded": told()}
some = torch.arange(sae.d_sae // 2, sae.d_sae // 2 + 16 * 37, 37)
with torch.inference_mode():
    sae.encoder(some)(torch.randn(128, sae.d_in))
    found["some"] = told()
    sae.encode(torch.randn(4, sae.d_in).to(sae.W_enc))
    found["all"] = told()
print(json.dumps(found))
"""


def main(d_sae: int, d_model: int) -> None:
    made = {
        "SAELens, float32": (saelens, torch.float32, "float32"),
        "SAELens, bfloat16 as it is": (saelens, torch.bfloat16, "kept"),
        "SAELens, bfloat16 to float32": (saelens, torch.bfloat16, "float32"),
        "sparsify, float32": (sparsify, torch.float32, "float32"),
        "Goodfire (.pt), float32": (goodfire, torch.float32, "float32"),
        "Gemma Scope (.npz), float32": (gemma_scope, torch.float32, "float32"),
    }
    print(json.dumps({"d_sae": d_sae, "d_model": d_model}))
    for name, (write, dtype, kept) in made.items():
        with tempfile.TemporaryDirectory() as scratch:
            file = write(Path(scratch), weights(d_sae, d_model, dtype))
            size = file.stat().st_size
            command = [sys.executable, "-c", READ, str(file), HOOK, kept]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found = json.loads(done.stdout)
            told: dict[str, object] = {}
            for when in ("loaded", "some", "all"):
                own, read = (round(each / size, 2) for each in found[when])
                told[when] = {"own": own, "read": read}
            print(json.dumps({name: {**told, "seconds": round(found["seconds"], 2)}}), flush=True)


def weights(d_sae: int, d_model: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {
        "W_enc": torch.randn(d_model, d_sae, dtype=dtype),
        "b_enc": torch.zeros(d_sae, dtype=dtype),
        "W_dec": torch.randn(d_sae, d_model, dtype=dtype),
        "b_dec": torch.zeros(d_model, dtype=dtype),
    }


def saelens(folder: Path, w: dict[str, torch.Tensor]) -> Path:
    (folder / "cfg.json").write_text(json.dumps(CONFIG))
    save_file(w, folder / "sae_weights.safetensors")
    return folder / "sae_weights.safetensors"


def sparsify(folder: Path, w: dict[str, torch.Tensor]) -> Path:
    (folder / "cfg.json").write_text(json.dumps({"activation": "topk", "k": 32}))
    rows = w["W_enc"].T.contiguous()
    held = {"encoder.weight": rows, "encoder.bias": w["b_enc"]}
    save_file({**held, "W_dec": w["W_dec"], "b_dec": w["b_dec"]}, folder / "sae.safetensors")
    return folder / "sae.safetensors"


def goodfire(folder: Path, w: dict[str, torch.Tensor]) -> Path:
    held = {
        "encoder_linear.weight": w["W_enc"].T.contiguous(),
        "encoder_linear.bias": w["b_enc"],
        "decoder_linear.weight": w["W_dec"].T.contiguous(),
        "decoder_linear.bias": w["b_dec"],
    }
    torch.save(held, folder / "wide-l1.pt")
    return folder / "wide-l1.pt"


def gemma_scope(folder: Path, w: dict[str, torch.Tensor]) -> Path:
    held = {name: tensor.numpy() for name, tensor in w.items()}
    np.savez(folder / "params.npz", threshold=held["b_enc"] + 0.1, **held)
    return folder / "params.npz"


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3] or (131_072, 1024)))
