import subprocess
import sys
import threading
import time

import pytest
from waiting import until

from sae_widgets.widgets.worker import Cancelled, Inline, Replaced, Status, Worker, sentence


class Reports(list):
    """Statuses as they are reported."""

    def until(self, *states: str) -> None:
        until(
            lambda: self and self[-1].state in states,
            told=lambda: f"for {states}, got {list(self)}",
        )

    @property
    def states(self) -> list[tuple[int, str]]:
        return [(status.id, status.state) for status in self]


def test_a_job_is_reported_when_it_begins_and_when_it_is_done():
    reports = Reports()
    Worker(reports.append).submit(7, lambda check: check())
    reports.until("done")
    assert reports.states == [(7, "working"), (7, "done")]
    assert reports[-1].seconds > 0


def test_a_newer_job_ends_the_running_one_and_skips_the_waiting_ones():
    reports, ran, begun = Reports(), [], threading.Event()

    def endless(check):
        begun.set()
        while True:
            check()
            time.sleep(0.001)

    worker = Worker(reports.append)
    worker.submit(1, endless)
    assert begun.wait(5)
    for id in range(2, 6):
        worker.submit(id, lambda check, id=id: ran.append(id) or check())
    reports.until("done")
    assert ran[-1] == 5
    # The job that was ended says nothing: the screen already speaks of a newer one.
    assert (1, "stopped") not in reports.states
    assert reports.states[-1] == (5, "done")


def test_a_closed_worker_ends_its_job_and_its_thread_and_takes_no_more():
    reports, begun = Reports(), threading.Event()

    def endless(check):
        begun.set()
        while True:
            check()
            time.sleep(0.001)

    worker = Worker(reports.append)
    worker.submit(1, endless)
    assert begun.wait(5)
    thread = worker._thread
    worker.close()
    thread.join(5)
    assert not thread.is_alive()
    worker.submit(2, lambda check: check())
    assert reports.states == [(1, "working")]


def test_only_the_job_that_is_named_is_stopped():
    reports, steps = Reports(), []

    def job(check):
        while True:
            check()
            steps.append(1)
            time.sleep(0.001)

    worker = Worker(reports.append)
    worker.submit(3, job)
    worker.stop(2)
    reports.until("working")
    while len(steps) < 3:
        time.sleep(0.002)
    worker.stop(3)
    reports.until("stopped")
    assert reports.states == [(3, "working"), (3, "stopped")]


def test_a_worker_goes_on_after_a_job_was_stopped():
    reports = Reports()
    worker = Worker(reports.append)
    worker.submit(1, lambda check: time.sleep(0.02) or check())
    worker.stop(1)
    reports.until("stopped")
    worker.submit(2, lambda check: check())
    reports.until("done")
    assert reports[-1].id == 2


@pytest.mark.parametrize("executor", [Inline, Worker])
def test_an_error_becomes_one_sentence_and_the_rest_is_kept(executor):
    reports = Reports()

    def job(check):  # noqa: ARG001
        raise ValueError("the prompt has 300 tokens and 255 fit")

    executor(reports.append).submit(4, job)
    reports.until("error")
    assert reports[-1].text == "the prompt has 300 tokens and 255 fit"
    assert "Traceback" in reports[-1].detail
    assert "test_worker.py" in reports[-1].detail


def test_a_job_learns_whether_it_was_stopped_or_replaced():
    reports, begun, ended = Reports(), [], []

    def job(check):
        begun.append(job)
        try:
            while True:
                check()
                time.sleep(0.001)
        except Cancelled as reason:
            ended.append(type(reason))
            raise

    worker = Worker(reports.append)
    worker.submit(1, job)
    until(lambda: len(begun) == 1)
    worker.submit(2, job)
    until(lambda: len(begun) == 2)
    worker.stop(2)
    reports.until("stopped")
    assert ended == [Replaced, Cancelled]


def test_a_worker_outlives_a_callback_on_the_status_that_fails(caplog):
    reports = Reports()

    def report(status):
        reports.append(status)
        if status.id == 1:
            raise RuntimeError("my own mistake")

    worker = Worker(report)
    worker.submit(1, lambda check: check())
    reports.until("done")
    worker.submit(2, lambda check: check())
    until(lambda: reports.states[-1] == (2, "done"))
    assert "my own mistake" in caplog.text


def test_an_error_that_is_not_about_a_value_says_its_kind():
    assert sentence(KeyError("x")) == "KeyError: 'x'"
    assert sentence(RuntimeError()) == "RuntimeError"
    assert sentence(ValueError("too long")) == "too long"


def test_inline_runs_a_job_before_submit_returns():
    reports, ran = Reports(), []
    Inline(reports.append).submit(1, lambda check: ran.append(check()))
    assert ran == [None]
    assert reports.states == [(1, "working"), (1, "done")]


def test_a_job_that_cancels_itself_is_stopped_and_not_an_error():
    reports = Reports()

    def job(check):  # noqa: ARG001
        raise Cancelled

    Inline(reports.append).submit(1, job)
    assert reports[-1].state == "stopped"


def test_a_status_goes_to_the_browser_as_plain_values():
    assert Status(3, "error", "no", "why", 0.5).to_json() == {
        "id": 3,
        "state": "error",
        "text": "no",
        "detail": "why",
        "seconds": 0.5,
    }


def test_python_waits_at_its_end_until_a_running_job_has_noticed():
    script = """
import time
from sae_widgets.widgets.worker import Worker
def job(check):
    try:
        while True:
            check()
            time.sleep(0.01)
    finally:
        print("noticed")
Worker(lambda status: None).submit(1, job)
time.sleep(0.1)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "noticed\n")
