"""A run's folder: which checkpoint is the last, and in what two runs differ."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sae_widgets.training.folder import begin, check, compare, last_checkpoint


def write_checkpoint(folder, step, state='{"log_history": []}'):
    path = folder / f"checkpoint-{step}"
    path.mkdir(parents=True)
    save_file({"x": torch.zeros(2)}, path / "model.safetensors")
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        torch.save({}, path / name)
    (path / "trainer_state.json").write_text(state)
    return path


def test_the_last_checkpoint_is_the_one_with_most_steps_that_is_whole(tmp_path):
    assert last_checkpoint(tmp_path) is None
    write_checkpoint(tmp_path, 90)
    last = write_checkpoint(tmp_path, 100)
    write_checkpoint(tmp_path, 110, state='{"global_st')
    write_checkpoint(tmp_path, 115, state="{}")
    (tmp_path / "checkpoint-120").mkdir()
    write_checkpoint(tmp_path, "best")
    assert last_checkpoint(tmp_path) == last


def test_a_run_that_depends_on_the_same_may_go_on(tmp_path):
    begin(tmp_path, {"model": {"name": "m"}, "recipes": [{"prefixes": (1, 2)}]})
    compare(tmp_path, {"model": {"name": "m"}, "recipes": [{"prefixes": (1, 2)}]})


@pytest.mark.parametrize(
    ("now", "message"),
    [
        ({"a": {"b": 1, "c": [1, 2]}}, r"a: c 2 was 3 and is 2 now"),
        ({"a": {"b": 1}}, r"a: c was \[1, 3\] and is None now"),
        ({"a": 7}, r"a was \{.*\} and is 7 now"),
    ],
)
def test_a_run_that_depends_on_something_else_may_not(tmp_path, now, message):
    begin(tmp_path, {"a": {"b": 1, "c": [1, 3]}})
    with pytest.raises(ValueError, match=message):
        compare(tmp_path, now)


@pytest.mark.parametrize("broken", ["{", "[7]", "null"])
def test_a_record_that_is_broken_is_told_so(tmp_path, broken):
    (tmp_path / "run.json").write_text(broken)
    with pytest.raises(ValueError, match="is corrupt, so the run cannot be gone on with"):
        compare(tmp_path, {})


def test_there_are_three_things_to_do_with_what_is_there(tmp_path):
    with pytest.raises(ValueError, match="'refuse', 'resume' or 'replace'; got 'ask'"):
        check(tmp_path, "ask")


def test_to_begin_throws_away_the_run_that_was_there(tmp_path):
    begin(tmp_path, {"a": 1})
    write_checkpoint(tmp_path, 5)
    begin(tmp_path, {"a": 2})
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_of_links_in_a_run_that_is_thrown_away_what_they_lead_to_stays(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    for place in (run / "mine", run / "checkpoint-4", other):
        place.mkdir(parents=True)
        (place / "precious").touch()
    (run / "link").symlink_to(run / "linked", target_is_directory=True)
    (run / "linked").mkdir()
    (run / "checkpoint-5").symlink_to(other)
    names = ("mine", "mine", "mine/../mine", "x" * 300, "link", "checkpoint-4")
    record = {"recipes": [{"name": name} for name in names]}
    (run / "run.json").write_text(json.dumps(record))
    begin(run, {"recipes": []})
    assert sorted(path.name for path in run.iterdir()) == ["linked", "run.json"]
    assert (other / "precious").exists()


@pytest.mark.parametrize("name", ["..", ".", "", "../other", "mine/..", "link"])
def test_a_strangers_record_names_nothing_outside_of_its_run_to_throw_away(tmp_path, name):
    run, other = tmp_path / "run", tmp_path / "other"
    for place in (run / "mine", other):
        place.mkdir(parents=True)
        (place / "precious").touch()
    (run / "link").symlink_to(other)
    for each in (name, str(other)):
        (run / "run.json").write_text(json.dumps({"recipes": [{"name": each}]}))
        begin(run, {"recipes": []})
    assert (run / "mine" / "precious").exists()
    assert (other / "precious").exists()
