"""Damage a training's newest checkpoint at random, N times, and resume.

    python tests/attacks/checkpoints.py [N]

A file of it is taken away, cut off, emptied, overwritten with noise, or one byte of it is another.
Prints as JSON how many resumed runs came to the weights of a run that nothing happened to (`same`),
were refused with a path (`refused`), came to others in silence (`other`), or raised from within
(`raised`). The last two are to be 0.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

import tiny  # noqa: E402
import torch  # noqa: E402
from transformers import TrainerCallback  # noqa: E402

import sae_widgets as sw  # noqa: E402
from sae_widgets.training.objectives import BatchTopK  # noqa: E402

TEXTS = ["the sea and the ship and the storm", "a theory of the other three things"] * 20
RECIPE = sw.Recipe(tiny.HOOK, 24, BatchTopK(3), steps=12, batch=32, context=16, buffer=64, lr=1e-2)
FILES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "training_args.bin",
)


class KillAt(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):  # noqa: ARG002
        if state.global_step == 8:
            raise KeyboardInterrupt


def harm(path: Path, chance: random.Random) -> str:
    data = bytearray(path.read_bytes())
    how = chance.choice(["missing", "cut", "empty", "noise", "byte"])
    if how == "missing":
        path.unlink()
        return how
    if how == "cut":
        data = data[: chance.randrange(len(data))]
    elif how == "empty":
        data = bytearray()
    elif how == "noise":
        data = bytearray(chance.randbytes(len(data)))
    else:
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)
    return how


def attack(times: int, seed: int = 0) -> dict[str, object]:
    words = tiny.byte_level(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    model = tiny.gpt2(words)
    whole = sw.train(model, TEXTS, RECIPE, progress=False).state_dict()
    counts = {"same": 0, "refused": 0, "other": 0, "raised": 0}
    found: list[str] = []
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as place:
        first = Path(place) / "first"
        try:
            sw.train(
                model,
                TEXTS,
                RECIPE,
                folder=first,
                save_every=3,
                progress=False,
                callbacks=[KillAt()],
            )
        except KeyboardInterrupt:
            pass
        for _ in range(times):
            run = Path(shutil.copytree(first, Path(place) / "run"))
            name = chance.choice(FILES)
            what = f"{harm(run / 'checkpoint-6' / name, chance)} {name}"
            try:
                sae = sw.train(model, TEXTS, RECIPE, folder=run, existing="resume", progress=False)
                pairs = zip(sae.state_dict().values(), whole.values(), strict=True)
                end = "same" if all(torch.equal(x, y) for x, y in pairs) else "other"
            except Exception as error:
                end = "refused" if str(run) in str(error) else "raised"
                what += f": {error!r:.200}"
            counts[end] += 1
            if end in ("other", "raised"):
                found.append(f"{end}: {what}")
            shutil.rmtree(run)
    return {"times": times, **counts, "found": found}


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print(json.dumps(attack(int(sys.argv[1]) if len(sys.argv) > 1 else 60), indent=2))
