"""Two processes that torchrun starts train what one trains with the same batch."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import sae_widgets as sw
from sae_widgets.training.named import read_objective
from sae_widgets.training.recipe import Recipe

HOOK = "blocks.0.hook_resid_post"
OBJECTIVES = {
    "nested": "Matryoshka(k=3, prefixes=(8, 24), rescue=0.1)",
    "thresholds": "JumpReLU(l0=3, bandwidth=0.5)",
}
TEXTS = [
    " ".join(chr(ord("a") + (n * n + 3 * i * n) % 19) for i in range(4 + n % 9)) for n in range(60)
]
SHARED = {"steps": 8, "batch": 64, "context": 16, "buffer": 200, "lr": 0.01, "patience": 0.1}


@pytest.fixture(scope="module")
def runs(model_folder, tmp_path_factory):
    """What two processes leave in a folder; each of them runs the same command."""
    place = tmp_path_factory.mktemp("runs")
    texts = place / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    options = [f"--{name}={value}" for name, value in SHARED.items()]
    commands = [
        [
            *["train", str(model_folder), str(texts), HOOK, "--quiet", "--d-sae=24", *options],
            *[f"--objective={objective}", f"--folder={place / name}"],
        ]
        for name, objective in OBJECTIVES.items()
    ]
    done = launched(commands)
    assert done.returncode == 0, done.stderr
    return place, done


def launched(commands):
    """Two processes, each of which runs the same commands."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    script = str(Path(__file__).with_name("two_processes.py"))
    env = os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*launch, script, json.dumps(commands)],
        env=env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_two_processes_train_the_sae_that_one_does(model, runs, name):
    place, _ = runs
    recipe = Recipe(HOOK, 24, read_objective(OBJECTIVES[name]), shards=2, **SHARED)
    alone = sw.train(model, TEXTS, recipe, progress=False)
    both = sw.load_sae(place / name / HOOK)
    for part, tensor in alone.state_dict().items():
        torch.testing.assert_close(both.state_dict()[part], tensor, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(both.stats.peak, alone.stats.peak, rtol=1e-3, atol=1e-4)


def test_it_is_not_the_sae_of_half_the_batch(model, runs):
    place, _ = runs
    objective = read_objective(OBJECTIVES["nested"])
    half = sw.train(
        model, TEXTS, Recipe(HOOK, 24, objective, **SHARED | {"batch": 32}), progress=False
    )
    both = sw.load_sae(place / "nested" / HOOK)
    assert not torch.allclose(both.W_enc, half.W_enc, rtol=1e-2, atol=1e-3)


def test_figures_are_of_all_processes(model, runs):
    place, _ = runs
    recipe = Recipe(HOOK, 24, read_objective(OBJECTIVES["nested"]), shards=2, **SHARED)
    sw.train(model, TEXTS, recipe, folder=place / "alone", progress=False)
    for one, other in zip(*(log(place / name) for name in ("alone", "nested")), strict=True):
        for figure in ("fvu", "l0", "dead", "threshold", "grad_norm"):
            assert one[figure] == pytest.approx(other[figure], rel=1e-3), figure


def log(run):
    state = json.loads((run / "checkpoint-8" / "trainer_state.json").read_text())
    return [line for line in state["log_history"] if "loss" in line]


def test_one_process_speaks_for_both(runs):
    place, done = runs
    assert done.stdout.splitlines() == [
        f"trained {place / name / HOOK}: 24 features at {HOOK}" for name in OBJECTIVES
    ]


def command(model_folder, place, folder, *more, steps=8):
    """Trains in a folder of `place`."""
    texts = place / "texts.txt"
    texts.write_text("\n".join(TEXTS))
    options = [f"--{name}={value}" for name, value in (SHARED | {"steps": steps}).items()]
    named = [f"--objective={OBJECTIVES['nested']}", f"--folder={place / folder}", *more]
    return ["train", str(model_folder), str(texts), HOOK, "--quiet", "--d-sae=24", *options, *named]


def test_a_checkpoint_that_one_process_alone_sees_is_refused_by_both_at_once(
    model, model_folder, tmp_path
):
    recipe = Recipe(HOOK, 24, read_objective(OBJECTIVES["nested"]), shards=2, **SHARED)
    sw.train(model, TEXTS, recipe, folder=tmp_path / "run-0", progress=False)
    done = launched([command(model_folder, tmp_path, "run-RANK", "--resume")])
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if "do not see the same" in line]
    assert len(said) == 2
    assert any("process 0 sees checkpoint-8" in line for line in said)
    assert any("process 1 sees no checkpoint" in line for line in said)
    assert not (tmp_path / "run-1").exists()


def test_a_run_that_one_process_alone_must_refuse_is_refused_by_both(model, model_folder, tmp_path):
    other = Recipe(HOOK, 24, read_objective(OBJECTIVES["nested"]), shards=2, **SHARED | {"lr": 0.5})
    sw.train(model, TEXTS, other, folder=tmp_path / "run-0", progress=False)
    for checkpoint in (tmp_path / "run-0").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    done = launched([command(model_folder, tmp_path, "run-RANK", "--resume")])
    assert done.returncode != 0
    assert "lr was 0.5 and is 0.01 now" in done.stderr
    assert "another process of this run cannot go on, and says why" in done.stderr
    assert not (tmp_path / "run-1").exists()


def test_a_run_that_goes_on_between_two_lines_of_the_log_counts_every_vector_once(
    model_folder, tmp_path
):
    """Two steps make a line, and a checkpoint comes after the first of them."""
    run = tmp_path / "run"
    done = launched([command(model_folder, tmp_path, "run", "--save-every=67", steps=202)])
    assert done.returncode == 0, done.stderr
    whole = json.loads((run / "checkpoint-202" / "trainer_state.json").read_text())["log_history"]
    for made in (run / "checkpoint-202", run / "checkpoint-134", run / HOOK):
        shutil.rmtree(made, ignore_errors=True)
    kept = [path.name for path in run.glob("checkpoint-*")]
    assert kept == ["checkpoint-201"]
    resumed = command(model_folder, tmp_path, "run", "--save-every=67", "--resume", steps=202)
    done = launched([resumed])
    assert done.returncode == 0, done.stderr
    again = json.loads((run / "checkpoint-202" / "trainer_state.json").read_text())["log_history"]
    (one,), (other,) = (
        [x for x in lines if x["step"] == 202 and "fvu" in x] for lines in (whole, again)
    )
    for figure in ("loss", "fvu", "l0", "dead", "densities"):
        assert other[figure] == pytest.approx(one[figure], rel=1e-5), figure
