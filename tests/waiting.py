"""Waiting for what another thread does."""

import time


def until(holds, seconds=5.0, told=lambda: ""):
    """Wait until `holds()` is true; if it is not in time, fail with what `told()` says."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited in vain {told()}"
        time.sleep(0.002)
