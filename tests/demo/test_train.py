"""Remaking the demo: stages are made once, whole or not at all."""

import json
from functools import partial

import pytest

from sae_widgets.demo.train import (
    MODELS,
    REHEARSAL,
    Settings,
    Stage,
    Workshop,
    count_stages,
    measured,
    plans,
)


@pytest.fixture
def shop(tmp_path):
    return Workshop(tmp_path, stages=9)


def test_a_stage_is_made_once_and_again_when_what_it_depends_on_has_changed(shop):
    made = []

    def stage(config):
        return Stage("one", config, lambda folder: made.append(folder.name))

    first = shop.alone(stage({"steps": 1}))
    again = shop.alone(stage({"steps": 1}))
    other = shop.alone(stage({"steps": 2}))
    assert len(made) == 2
    assert first == again
    assert other.folder == first.folder
    assert other.key != first.key


def test_a_stage_that_fails_leaves_what_there_was(shop):
    shop.alone(measured("one", {"n": 1}, lambda: 41))

    def fail(folder):
        (folder / "result.json").write_text("half")
        raise RuntimeError("a full disk")

    with pytest.raises(RuntimeError, match="a full disk"):
        shop.alone(Stage("one", {"n": 2}, fail))
    assert shop.alone(measured("one", {"n": 1}, lambda: 0)).result == 41


def test_stages_side_by_side_give_what_they_give_alone(shop):
    stages = {n: measured(f"sum-{n}", {"n": n}, partial(sum, range(n))) for n in (3, 9)}
    assert {n: made.result for n, made in shop.together(stages).items()} == {3: 3, 9: 36}
    kept = json.loads((shop.folder / "sum-9" / "stage.json").read_text())
    assert kept["config"] == {"n": 9}
    assert shop.bar.n == 2


def test_the_bar_counts_every_stage():
    """Three seeds of eight plans on the first model, of six on the second; attention once."""
    saes = 25 + 18
    trials = 2 * (3 * 3 + 1) + 3
    assert count_stages(Settings()) == 1 + 2 + 1 + saes + 2 * 2 + saes + trials + 2
    assert len([plan for n in MODELS for plan in plans(Settings(), n)]) == saes
    assert count_stages(REHEARSAL) < count_stages(Settings())
