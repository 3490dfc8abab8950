"""A training and its widget: one is told what the person wants, the other what happens."""

import gc
import itertools
import subprocess
import sys
import threading
import time
import weakref

import pytest
import torch
from test_from_texts import HEADS, HOOK, TEXTS, recipe, same, trained
from transformers import TrainerCallback
from waiting import until

import sae_widgets as sw
from sae_widgets import live
from sae_widgets.share.training import picture, words
from sae_widgets.training.activations import Rows
from sae_widgets.training.folder import last_checkpoint
from sae_widgets.training.objectives import BatchTopK
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.trainer import fit


@pytest.fixture(scope="module")
def whole(model):
    return trained(model)


def begun(model, recipe=recipe(), **options):  # noqa: B008
    return sw.training(model, TEXTS, recipe, **options)


@pytest.fixture
def at_step(monkeypatch):
    """Do something to the widget when its training is at a step."""

    def plan(step, act):
        class Planned(live.Watch):
            def on_step_end(self, args, state, control, **kwargs):
                if state.global_step == step:
                    act(self._widget)
                super().on_step_end(args, state, control, **kwargs)

        monkeypatch.setattr(live, "Watch", Planned)

    return plan


def test_a_training_that_is_watched_gives_the_same_sae_and_shows_its_log(model, whole):
    heard = []

    class Listen(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):  # noqa: ARG002
            heard.append({**logs, "step": state.global_step})

    assert same(trained(model, callbacks=[Listen()]), whole)
    widget = begun(model)
    assert same(widget.result(), whole)
    assert [each["step"] for each in widget.lines] == list(range(1, 13))
    for shown, logged in zip(widget.lines, heard, strict=False):
        assert shown["densities"] == logged["densities"]
        for name in ("loss", "fvu", "l0", "dead", "learning_rate", "grad_norm"):
            assert shown[name] == pytest.approx(logged[name], rel=1e-6)
    (sae,) = widget.run["saes"]
    assert (sae["d_sae"], sae["target"], widget.at["state"]) == (24, 3, "done")


def test_several_saes_are_watched_in_one_widget_each_under_its_name(model, whole, tmp_path):
    recipes = [recipe(), recipe(HEADS, name="heads", lr=2e-2)]
    alone = begun(model, recipe(HEADS, lr=2e-2))
    other = alone.result()
    widget = sw.training(model, TEXTS, recipes, folder=tmp_path / "run")
    saes = widget.result()
    assert [sae.name for sae in saes] == [HOOK, "heads"]
    assert same(saes[0], whole)
    assert same(saes[1], other)
    assert [sae["target"] for sae in widget.run["saes"]] == [3, 3]
    for line, by_itself in zip(widget.lines, alone.lines, strict=True):
        for figure in ("loss", "fvu", "l0", "dead", "learning_rate", "grad_norm", "densities"):
            assert line[f"heads/{figure}"] == pytest.approx(by_itself[figure], rel=1e-5), figure
    again = sw.training(model, TEXTS, recipes, folder=tmp_path / "run", existing="resume")
    assert [sae.name for sae in again.result()] == [HOOK, "heads"]
    assert again.figures == widget.figures


def test_a_list_of_one_recipe_gives_a_list_of_one_sae(model, whole):
    (sae,) = begun(model, [recipe()]).result()
    assert same(sae, whole)


def test_what_the_arguments_contradict_is_raised_in_the_cell(model, tmp_path):
    (tmp_path / "letter.txt").write_text("Dear Mira")
    for error, options in (
        ("no hook point", {"recipe": recipe("blocks.9.hook_resid_post")}),
        ("do not fill one batch", {"recipe": recipe(batch=100_000)}),
        ("no training run", {"folder": tmp_path}),
    ):
        with pytest.raises((ValueError, OSError), match=error):
            begun(model, **options)
    with pytest.raises(ValueError, match="no texts"):
        sw.training(model, [], recipe())


def test_what_goes_wrong_later_is_on_the_screen_and_raised_by_the_result(model):
    widget = begun(model, recipe(shards=5))
    with pytest.raises(ValueError, match="cannot come in equal shares"):
        widget.result()
    assert "cannot come in equal shares" in widget.status["text"]


def test_a_stopped_run_gives_the_sae_so_far_and_goes_on_to_the_same_bits(
    model, whole, tmp_path, at_step
):
    at_step(5, lambda widget: setattr(widget, "ended", True))
    widget = begun(model, folder=tmp_path / "run")
    sae = widget.result()
    assert sae.provenance["vectors"] == 5 * 32
    assert (widget.at["state"], widget.at["step"], widget.at["saved"]) == ("stopped", 5, 5)
    assert same(sw.load_sae(tmp_path / "run" / HOOK), sae)
    assert last_checkpoint(tmp_path / "run").name == "checkpoint-5"
    at_step(99, None)
    again = begun(model, folder=tmp_path / "run", existing="resume")
    assert same(again.result(), whole)
    assert [each["step"] for each in again.lines] == list(range(1, 13))


def test_a_run_that_is_done_shows_its_figures_again(model, tmp_path):
    first = begun(model, folder=tmp_path / "run", save_every=12)
    first.result()
    again = begun(model, folder=tmp_path / "run", existing="resume")
    again.result()
    assert again.figures == first.figures
    assert (again.at["state"], again.at["step"]) == ("done", 12)


def test_save_now_keeps_a_checkpoint_of_that_step_while_the_run_is_paused(
    model, whole, tmp_path, at_step
):
    at_step(4, lambda widget: setattr(widget, "paused", True))
    widget = begun(model, folder=tmp_path / "run", save_every=10)
    until(lambda: widget.at["state"] == "paused", 20)
    assert last_checkpoint(tmp_path / "run") is None
    widget.saves += 1
    until(lambda: widget.at["saved"] == 4)
    assert last_checkpoint(tmp_path / "run").name == "checkpoint-4"
    assert (widget.at["state"], widget.at["step"]) == ("paused", 4)
    widget.paused = False
    assert same(widget.result(), whole)


def test_a_full_disk_names_the_last_good_checkpoint_on_the_screen(model, tmp_path, monkeypatch):
    from transformers import Trainer

    written = Trainer._save_checkpoint

    def full(self, *args):
        if self.state.global_step == 8:
            raise OSError(28, "No space left on device")
        written(self, *args)

    monkeypatch.setattr(Trainer, "_save_checkpoint", full)
    widget = begun(model, folder=tmp_path / "run", save_every=4)
    with pytest.raises(OSError, match="checkpoint-4"):
        widget.result()
    assert "No space left" in widget.status["text"]
    assert "checkpoint-4" in widget.status["text"]
    assert widget.lines[-1]["step"] == 8


def test_the_model_can_be_used_while_it_is_trained_on(model, at_step):
    at_step(3, lambda widget: setattr(widget, "paused", True))
    widget = begun(model)
    until(lambda: widget.at["state"] == "paused", 20)
    with torch.inference_mode():
        assert model(torch.tensor([[0, 3, 4]])).shape == (1, 3, 20)
    widget.ended = True
    widget.result()


def test_a_stop_or_the_cell_run_again_ends_a_training_that_still_reads_its_texts(
    model, tmp_path, monkeypatch
):
    class Texts:
        """More than can be read, slowly from where it is clear that there are enough."""

        def __iter__(self):
            for number in itertools.count():
                if number > 100:
                    reading.set()
                    time.sleep(0.01)
                yield "a b c d e f"

    runs = itertools.count()
    monkeypatch.setattr(live, "this_cell", lambda: live.Cell("one", next(runs)))
    reading = threading.Event()
    widget = sw.training(model, Texts(), recipe(buffer=10**6), folder=tmp_path / "run")
    assert reading.wait(20)
    widget.ended = True
    until(lambda: widget.over, 20)
    with pytest.raises(RuntimeError, match="before it made a step"):
        widget.result()
    assert widget.at["state"] == "stopped"

    reading.clear()
    again = sw.training(
        model, Texts(), recipe(buffer=10**6), folder=tmp_path / "run", existing="replace"
    )
    assert reading.wait(20)
    last = begun(model, folder=tmp_path / "run", existing="replace")
    assert again.over
    assert last.result().provenance["vectors"] == 12 * recipe().batch


def test_running_a_cell_again_ends_the_training_that_it_began(model, at_step, monkeypatch):
    at_step(3, lambda widget: setattr(widget, "paused", True))
    monkeypatch.setattr(live, "this_cell", lambda: live.Cell("one", "first"))
    first = begun(model)
    until(lambda: first.at["state"] == "paused", 20)
    with pytest.raises(ValueError, match="goes on"):  # in the same run of the cell: both are seen
        begun(model)
    monkeypatch.setattr(live, "this_cell", lambda: live.Cell("one", "second"))
    again = begun(model)
    assert (first.at["state"], first.over) == ("stopped", True)
    again.ended = True
    again.wait()


def test_a_cell_that_is_run_again_finds_the_folder_as_its_old_training_left_it(
    model, whole, tmp_path, at_step, monkeypatch
):
    run = tmp_path / "run"
    at_step(3, lambda widget: setattr(widget, "paused", True))
    runs = map(str, itertools.count())
    monkeypatch.setattr(live, "this_cell", lambda: live.Cell("one", next(runs)))
    first = begun(model, folder=run)
    until(lambda: first.at["state"] == "paused", 20)
    with pytest.raises(FileExistsError, match=r"holds a run already \(checkpoint-3\)"):
        begun(model, folder=run)
    assert first.over
    assert same(begun(model, folder=run, existing="resume").result(), whole)


def test_while_a_training_goes_on_another_is_refused(model, tmp_path, at_step, monkeypatch):
    at_step(3, lambda widget: setattr(widget, "paused", True))
    monkeypatch.setattr(live, "this_cell", lambda: live.Cell("one", "1"))
    widget = begun(model, folder=tmp_path / "run")
    until(lambda: widget.at["state"] == "paused", 20)
    monkeypatch.setattr(live, "this_cell", lambda: live.Cell("two", "2"))
    with pytest.raises(ValueError, match=r"goes on \(.*, step 3 of 12\): wait"):
        begun(model)
    with pytest.raises(RuntimeError, match="another training goes on in this process"):
        trained(model)
    with pytest.raises(RuntimeError, match="another training goes on in this process"):
        fit(Rows(torch.randn(64, 8)), recipe(), progress=False)
    assert not widget.over
    widget.ended = True
    widget.result()


def test_what_a_training_held_when_it_failed_is_let_go(model, monkeypatch):
    class Held:
        pass

    held = []

    def failing(*_args, **_options):
        mine = Held()
        held.append(weakref.ref(mine))
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("it went wrong") from error

    monkeypatch.setattr(live.Plan, "run", failing)
    widget = begun(model)
    with pytest.raises(ValueError, match="it went wrong"):
        widget.result()
    gc.collect()
    assert held[0]() is None
    assert "in failing" in widget.status["detail"]


def test_an_error_that_is_its_own_cause_ends_a_training_too(model, monkeypatch):
    def failing(*_args, **_options):
        error = ValueError("it went round")
        raise error from error

    monkeypatch.setattr(live.Plan, "run", failing)
    with pytest.raises(ValueError, match="it went round"):
        begun(model).result()


def test_closing_the_widget_keeps_the_sae_so_far(model, at_step, tmp_path):
    at_step(7, lambda widget: widget.close())
    sae = begun(model, folder=tmp_path / "run").result()
    assert sae.provenance["vectors"] == 7 * recipe().batch
    assert same(sw.load_sae(tmp_path / "run" / sae.name), sae)


def test_python_ends_at_once_while_a_training_goes_on(model_folder):
    code = (
        "import sys, time, sae_widgets as sw\n"
        "recipe = sw.Recipe('blocks.0.hook_resid_post', 24, sw.TopK(3), steps=10**6, batch=32)\n"
        "widget = sw.training(sw.load_model(sys.argv[1]), ['a b c d e f'] * 50, recipe)\n"
        "while widget.at['step'] < 3: time.sleep(0.01)\n"
        "print('ends', flush=True)"
    )
    assert printed(code, model_folder) == ["ends"]


def test_python_ends_at_once_while_a_training_still_reads_its_texts(model_folder):
    code = (
        "import itertools, sys, threading, time, sae_widgets as sw\n"
        "reads = threading.Event()\n"
        "class Texts:\n"
        "    def __iter__(self):\n"
        "        try:\n"
        "            for number in itertools.count():\n"
        "                if number > 100:\n"  # to see that there are enough takes fewer
        "                    reads.set()\n"
        "                    time.sleep(0.1)\n"
        "                yield 'a b c d e f'\n"
        "        finally:\n"
        "            if reads.is_set(): print('left', flush=True)\n"
        "recipe = sw.Recipe('blocks.0.hook_resid_post', 24, sw.TopK(3), steps=9, batch=32)\n"
        "widget = sw.training(sw.load_model(sys.argv[1]), Texts(), recipe)\n"
        "reads.wait()\n"
        "print('ends', flush=True)"
    )
    assert printed(code, model_folder) == ["ends", "left"]


def printed(code, model_folder):
    """The lines that Python prints when it runs `code` to a good end."""
    command = [sys.executable, "-W", "ignore", "-c", code, str(model_folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_outside_of_a_notebook_there_is_no_cell():
    assert live.this_cell() is None


def test_what_is_to_be_known_of_a_training_stands_in_its_widget(model, tmp_path):
    run = tmp_path / "run"
    many = Recipe(HOOK, 400, BatchTopK(1), steps=10, batch=32, context=16, buffer=64, lr=0.5)
    widget = begun(model, recipe=many, folder=run)
    widget.result()
    (note,) = widget.run["notes"]
    assert "of the 400 features" in note
    assert note in words(widget.get_state())
    noted = picture(widget.get_state())
    assert noted[1] > picture({**widget.get_state(), "run": {**widget.run, "notes": []}})[1]
    (run / "checkpoint-10" / "optimizer.pt").unlink()
    again = begun(model, recipe=many, folder=run, existing="resume")
    again.result()
    first, _dead = again.run["notes"]
    assert "checkpoint-10 is passed over: optimizer.pt is missing" in first
