"""Interrupts wait while a model is being changed, and arrive everywhere else."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sae_widgets.model import restoring

ATTACK = Path(__file__).parent / "attacks" / "interrupts.py"


def interrupt():
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def as_python_begins():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


def block(done, *, entering=False, leaving=False):
    """Notes what was done; interrupts itself between two notes."""

    @restoring
    def changing():
        done.append("changed")
        if entering:
            interrupt()
        done.append("noted")
        try:
            yield
        finally:
            done.append("restoring")
            if leaving:
                interrupt()
            done.append("restored")

    return changing()


WHOLE = ["changed", "noted", "restoring", "restored"]


def test_in_the_block_an_interrupt_arrives_at_once():
    done = []
    with pytest.raises(KeyboardInterrupt), block(done):
        interrupt()
        done.append("went on")
    assert done == WHOLE


def test_on_the_way_in_it_waits_and_what_was_changed_is_restored():
    done = []
    with pytest.raises(KeyboardInterrupt), block(done, entering=True):
        done.append("went on")
    assert done == WHOLE


def test_on_the_way_out_it_waits_until_all_is_restored():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with block(done, leaving=True):
            pass
        done.append("went on")
    assert done == WHOLE


@pytest.mark.parametrize("ways", [{"entering": True}, {"leaving": True}])
def test_of_a_block_in_the_way_of_another_it_arrives_when_both_have_gone_it(ways):
    done = []

    @restoring
    def outer():
        with block(done, **ways):
            done.append("outer in")
            try:
                yield
            finally:
                done.append("outer out")

    with pytest.raises(KeyboardInterrupt):
        with outer():
            done.append("in the block")
        done.append("went on")
    # An interrupt on the way in ends the block before it begins.
    inside = ["in the block"] * ("leaving" in ways)
    assert done == ["changed", "noted", "outer in", *inside, "outer out", "restoring", "restored"]


def test_an_error_of_the_block_is_raised_and_an_error_on_the_way_in_leaves_no_handler():
    with pytest.raises(ZeroDivisionError), block([]):
        _ = 1 / 0

    @restoring
    def broken():
        raise ValueError("no")
        yield

    with pytest.raises(ValueError, match="no"), broken():
        pass


def test_whoever_ignores_interrupts_is_heard():
    heard, done = [], []
    signal.signal(signal.SIGINT, lambda *_: heard.append(1))
    with block(done, entering=True, leaving=True):
        interrupt()
    assert heard == [1, 1, 1]
    assert done == WHOLE
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_in_other_threads_it_is_a_block_as_any():
    done = []

    def run():
        with block(done):
            pass

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert done == WHOLE


def test_interrupts_at_random_moments_leave_nothing_in_a_model():
    """`python tests/attacks/interrupts.py 2000` does it two thousand times."""
    script = [sys.executable, str(ATTACK), "40", "7"]
    done = subprocess.run(script, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout[done.stdout.index('{"interrupts"') :])
    assert sum(found["interrupts"].values()) == 40
    assert found["left"] == {}
