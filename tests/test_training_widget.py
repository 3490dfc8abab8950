"""The training widget by itself: what it is told, what it tells, what the person can do."""

import struct
import threading

import pytest
import traitlets
from waiting import until

from sae_widgets.widgets import Inline, Training
from sae_widgets.widgets import training as module
from sae_widgets.widgets.training import BINS, FIGURES, MOST, thinned

SAE = {"name": "mine", "hook": "h", "d_sae": None, "target": 4}
RUN = {"steps": 12, "batch": 8, "folder": None, "saes": [SAE]}
PAIR = [SAE, {"name": "wide", "hook": "g", "d_sae": 24, "target": None}]


def line(step, **more):
    figures = {"loss": 2.5 / step, "fvu": 0.5, "l0": 4.25, "dead": 0.125}
    rates = {"learning_rate": 0.5**9, "grad_norm": 1.5}
    return {"step": step, **figures, **rates, "densities": [step, *range(1, BINS)], **more}


def steps(widget, log_every=3):
    """A training that does nothing but its steps; returns how many it made."""
    widget.begin(0, [])
    for step in range(1, widget.run["steps"] + 1):
        if step % log_every == 0:
            widget.add(line(step))
        order = widget.after(step)
        if order == "save":
            widget.kept(step)
            order = widget.after(step)
        if order == "stop":
            break
    return step


def training(train=steps, worker=Inline, **run):
    return Training(train, {**RUN, **run}, worker=worker)


class Held:
    """A training on a thread, that waits after its fifth step until it is let go."""

    def __init__(self, twin=None, **run):
        self.orders = []
        self._here, self._go = threading.Event(), threading.Event()
        self.widget = Training(self._train, {**RUN, **run}, twin=twin)
        assert self._here.wait(5)

    def _train(self, widget):
        widget.begin(0, [])
        for step in range(1, 13):
            if step % 3 == 0:
                widget.add(line(step))
            if step == 5:
                self._here.set()
                assert self._go.wait(5)
            while (order := widget.after(step)) == "save":
                self.orders.append((step, "save"))
                widget.kept(step)
            if order == "stop":
                break
        return step

    def let_go(self):
        self._go.set()


def state(widget):
    return widget.at["state"]


def test_the_figures_are_on_the_wire_line_by_line():
    widget = training(lambda w: (w.begin(0, []), w.add(line(3)), w.add(line(6))))
    assert struct.unpack("<14f", widget.figures) == (
        *(3, struct.unpack("f", struct.pack("f", 2.5 / 3))[0], 0.5, 4.25, 0.125, 0.5**9, 1.5),
        *(6, struct.unpack("f", struct.pack("f", 2.5 / 6))[0], 0.5, 4.25, 0.125, 0.5**9, 1.5),
    )
    counts = struct.unpack(f"<{2 * BINS}I", widget.densities)
    assert (counts[0], counts[1], counts[BINS], counts[-1]) == (3, 1, 6, BINS - 1)
    assert widget.lines[1]["step"] == 6
    assert widget.lines[1]["densities"][0] == 6


def test_a_figure_that_a_line_lacks_is_not_a_number_and_a_line_without_a_loss_is_none():
    bare = {"step": 3, "loss": 1.0}
    widget = training(lambda w: (w.add(bare), w.add({"step": 12, "train_runtime": 9.0})))
    (read,) = struct.iter_unpack(f"<{len(FIGURES)}f", widget.figures)
    assert read[:2] == (3, 1)
    assert all(value != value for value in read[2:])
    assert widget.densities == bytes(4 * BINS)


def pair_line(step):
    """A line of the log of two SAEs, the figures of the second of which are its own."""
    of_each = [line(step), line(step, fvu=0.25, densities=[9, *range(1, BINS)])]
    named = zip(("mine", "wide"), of_each, strict=True)
    told = {f"{name}/{figure}": x for name, each in named for figure, x in each.items()}
    return {"step": step, "loss": 9.0, **told}


def test_the_figures_of_several_saes_are_told_apart_by_their_names():
    widget = training(lambda w: (w.begin(0, []), w.add(pair_line(3))), saes=PAIR)
    first, second = struct.iter_unpack(f"<{len(FIGURES)}f", widget.figures)
    assert (first[0], first[2], second[0], second[2]) == (3, 0.5, 3, 0.25)
    assert first[1] == pytest.approx(2.5 / 3)  # its own loss, and not that of both
    counts = struct.unpack(f"<{2 * BINS}I", widget.densities)
    assert (counts[0], counts[BINS]) == (3, 9)
    (kept,) = widget.lines
    assert (kept["step"], kept["mine/fvu"], kept["wide/fvu"]) == (3, 0.5, 0.25)
    assert repr(widget) == "Training('mine', 'wide', 12 steps)"


def test_one_of_several_saes_is_chosen_and_only_one_that_there_is():
    widget = training(saes=PAIR)
    assert widget.sae == "mine"
    widget.sae = "wide"
    with pytest.raises(traitlets.TraitError, match="no SAE 'other'; it has mine, wide"):
        widget.sae = "other"
    assert widget.sae == "wide"


def test_the_history_of_a_long_run_stays_small_and_ends_with_the_newest_line():
    def train(widget):
        for step in range(1, 1001):
            widget.add(line(step))
            assert len(widget.lines) <= MOST

    kept = [each["step"] for each in training(train).lines]
    assert kept[-1] == 1000
    assert kept == sorted(kept)
    assert len(kept) > MOST / 2
    assert thinned([1, 2, 3, 4]) == [2, 4]
    assert thinned([1, 2, 3]) == [1, 3]


def test_quick_steps_do_not_flood_the_browser(monkeypatch):
    monkeypatch.setattr(module, "BEAT", 1e9)
    told = []

    def train(widget):
        widget.observe(lambda change: told.append(change["new"]["state"]), "at")
        steps(widget)

    training(train, steps=5000)
    assert told == ["training", "finishing", "done"]


def test_a_training_that_is_done_says_so_and_its_result_is_there():
    widget = training()
    assert (state(widget), widget.at["step"], widget.at["left"]) == ("done", 12, 0)
    assert widget.status["state"] == "done"
    assert widget.result() == 12
    assert repr(widget) == "Training('mine', 12 steps)"


def test_what_becomes_known_when_training_begins_is_shown():
    known = {**SAE, "d_sae": 24, "target": 3}
    widget = training(lambda w: w.begin(0, [], saes=[known]))
    assert widget.run == {**RUN, "saes": [known]}


def test_a_resumed_run_begins_with_the_lines_that_it_had_and_not_with_those_before_them():
    def train(widget):
        widget.add(line(9))
        widget.begin(6, [line(3), line(6), {"step": 6, "train_runtime": 1}])

    widget = training(train)
    assert [each["step"] for each in widget.lines] == [3, 6]
    assert (widget.at["step"], widget.at["saved"]) == (6, 6)


def test_a_pause_holds_the_run_after_its_step_and_ends_when_the_person_wants():
    held = Held()
    held.widget.set_state({"paused": True})  # as the browser does it
    held.let_go()
    until(lambda: state(held.widget) == "paused")
    assert held.widget.at["step"] == 5
    held.widget.paused = False
    assert held.widget.result() == 12
    assert state(held.widget) == "done"


def test_a_stop_ends_a_run_with_what_there_is_while_it_is_paused_too():
    for pause in (False, True):
        held = Held()
        held.widget.paused = pause
        held.let_go()
        if pause:
            until(lambda held=held: state(held.widget) == "paused")
        else:
            held.widget.ended = True
        held.widget.ended = True
        made = held.widget.result()
        assert 5 <= made <= 12
        assert (state(held.widget), held.widget.at["step"]) == (
            "stopped" if made < 12 else "done",
            made,
        )


def test_a_stop_while_the_first_texts_are_read_ends_the_run_at_once():
    def reading(widget):
        read.set()
        while True:
            widget.check()

    read = threading.Event()
    widget = Training(reading, RUN)
    assert read.wait(5)
    assert not widget.over
    widget.ended = True
    until(lambda: widget.over)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="before it made a step"):
            widget.result()
    assert (state(widget), widget.at["step"]) == ("stopped", 0)
    assert widget.status["state"] == "stopped"


def test_a_stop_while_later_texts_are_read_keeps_what_there_is():
    def reads_again(widget):
        widget.begin(0, [])
        order = widget.after(1)
        widget.ended = True
        widget.check()
        return order, widget.after(2)

    assert training(reads_again).result() == ("go on", "stop")


def test_a_stop_while_a_resumed_run_reads_keeps_what_there_was():
    def resumed(widget):
        widget.begin(2, [])
        widget.ended = True
        widget.check()
        return widget.after(3)

    assert training(resumed).result() == "stop"


def test_a_checkpoint_can_be_asked_for_while_the_run_is_paused_and_leaves_it_so():
    held = Held(folder="somewhere")
    held.widget.paused = True
    held.let_go()
    until(lambda: state(held.widget) == "paused")
    held.widget.set_state({"saves": 1})
    until(lambda: held.widget.at["saves"] == 1 and held.widget.at["saved"] == 5)
    assert state(held.widget) == "paused"
    held.widget.saves = 2  # at a step that is kept already
    until(lambda: held.widget.at["saves"] == 2)
    assert held.orders == [(5, "save")]
    held.widget.paused = False
    held.widget.result()


def test_a_checkpoint_that_could_be_kept_nowhere_is_refused():
    widget = training()
    with pytest.raises(traitlets.TraitError, match="begin it with folder="):
        widget.saves = 1
    widget.set_state({"saves": 1})
    assert "folder=..." in widget.status["text"]
    assert widget.saves == 0


def test_an_error_is_on_the_screen_with_the_figures_and_is_raised_by_the_result():
    def train(widget):
        widget.begin(0, [])
        widget.add(line(3))
        raise FloatingPointError("the loss is nan. The last good checkpoint is checkpoint-2.")

    widget = training(train)
    assert widget.status["state"] == "error"
    assert "checkpoint-2" in widget.status["text"]
    assert "Traceback" in widget.status["detail"]
    assert (state(widget), len(widget.lines)) == ("failed", 1)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match="checkpoint-2"):
            widget.result()


def test_closing_the_widget_ends_its_training():
    held = Held()
    held.widget.paused = True
    held.let_go()
    until(lambda: state(held.widget) == "paused")
    held.widget.close()
    assert held.widget.result() == 5
