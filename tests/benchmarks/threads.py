"""What one thread saves a small model, on a machine that does nothing else and on a busy one.

    python tests/benchmarks/threads.py

writes 30 tokens with the demo, once with the threads that torch has by itself and once with one,
in turn, and prints the medians and their ratio as JSON; then again beside a process that is busy
on every core.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import time

import torch

import sae_widgets as sw
from sae_widgets.model import threads

ROUNDS = 7


def seconds(session: sw.Session, small: int) -> float:
    threads.SMALL = small
    start = time.perf_counter()
    session.generate("Felix hid", max_new_tokens=30)
    return time.perf_counter() - start


def compared(session: sw.Session) -> dict[str, float]:
    """The two ways in turn, so that what else the machine does troubles both alike."""
    found: dict[int, list[float]] = {0: [], 10**9: []}
    for _ in range(ROUNDS):
        for small, taken in found.items():
            taken.append(seconds(session, small))
    all, one = (statistics.median(taken) for taken in found.values())
    return {"as torch has it": round(all, 3), "one": round(one, 3), "ratio": round(all / one, 2)}


def busy() -> None:
    while True:
        sum(range(100_000))


def main() -> None:
    session = sw.load_demo()
    session.generate("Felix hid", max_new_tokens=3)
    told: dict[str, object] = {"threads": torch.get_num_threads(), "at rest": compared(session)}
    others = [multiprocessing.Process(target=busy, daemon=True) for _ in range(os.cpu_count() or 1)]
    for each in others:
        each.start()
    told["busy"] = compared(session)
    for each in others:
        each.terminate()
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
