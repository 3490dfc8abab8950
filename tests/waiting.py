"""Waiting for what another thread does."""

import time

from sae_widgets.widgets.worker import Worker


def until(holds, seconds=5.0, told=lambda: ""):
    """Wait until `holds()` is true; if it is not in time, fail with what `told()` says."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited in vain {told()}"
        time.sleep(0.002)


def end(*widgets):
    """Close widgets, and wait until none of their threads works on a model any more."""
    for widget in widgets:
        widget.close()
    for widget in widgets:
        for worker in vars(widget).values():
            if isinstance(worker, Worker):
                worker.join()
