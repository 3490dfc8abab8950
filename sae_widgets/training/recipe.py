"""What to train, on how much and how fast: all that an SAE depends on but model and texts."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass, replace
from typing import Any

from sae_widgets.training.objectives import BatchTopK, Matryoshka, Objective, TopK

MOST_SILENT = 10_000_000
"""Vectors after which a feature that never fired is dead, however long the run (Gao et al.)."""

LONG = 160_000
"""Steps of a run for which the learning rates of the literature are meant."""

USUAL = Matryoshka
"""The objective of a recipe that names none; its k is d_model / 8, at most 32."""


@dataclass(frozen=True)
class Recipe:
    """How to train one SAE on the activations at `hook`.

    d_sae: how many features; None: 16 times as many as an activation has numbers. objective: what
    is trained for; None: nested features, `Matryoshka` with k = d_model / 8, at most 32.

    steps: each sees `batch` vectors, of all processes together. lr: the highest learning rate (of
    decoder rows that are held at unit norm, four times this: `trainer.TURN`); None: 2e-4 /
    sqrt(d_sae / 2^14) of a run of 160,000 steps, more the shorter it is (see `rate`). It rises for
    the first `warmup` of the run and falls to nothing in the last `decay` of it. clip: the longest
    gradient. beta1: Adam's memory of gradients. patience: a feature is dead when it has not fired
    for this share of the run, or on ten million vectors. precision: of the matrix products on an
    accelerator.

    context: how many tokens of a text the model reads at once, at most. buffer: how many
    activations are mixed. shards: into how many parts texts are dealt; None: one for each process.
    A run gives the same SAE on any number of processes that divides it.

    hook_out: None, or where a transcoder writes what it reads at `hook`; with `skip` it also has a
    linear map from the one to the other. With `frozen` the decoder keeps its random directions: a
    placebo. name: that of the SAE; None: its hook.
    """

    hook: str
    d_sae: int | None = None
    objective: Objective | None = None
    steps: int = 1000
    batch: int = 2048
    lr: float | None = None
    warmup: float = 0.05
    decay: float = 0.2
    clip: float = 1.0
    beta1: float = 0.9
    patience: float = 0.05
    precision: str = "float32"
    context: int = 256
    buffer: int = 2**17
    shards: int | None = None
    seed: int = 0
    hook_out: str | None = None
    skip: bool = False
    frozen: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1; got {self.steps}, {self.batch}.")
        if self.d_sae is not None:
            if self.d_sae < 1:
                raise ValueError(f"a dictionary has at least one feature; got d_sae={self.d_sae}")
            if self.objective is not None:
                self.objective.check(self.d_sae)
        if not (self.warmup >= 0 and self.decay >= 0 and self.warmup + self.decay <= 1):
            raise ValueError(
                "warmup and decay are shares of the run, together at most 1; got "
                f"{self.warmup} and {self.decay}"
            )
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ValueError(
                f"lr is the highest learning rate, finite and more than 0; got {self.lr}"
            )
        if not 0 <= self.beta1 < 1:
            raise ValueError(f"beta1 is from 0 to below 1; got {self.beta1}")
        if not 0 <= self.patience < math.inf:
            raise ValueError(f"patience is a finite share of the run, from 0; got {self.patience}")
        if self.context < 1 or self.buffer < 1 or (self.shards is not None and self.shards < 1):
            raise ValueError(
                "context, buffer and shards must be at least 1; got "
                f"{self.context}, {self.buffer} and {self.shards}"
            )
        if self.name is not None and (
            not self.name.strip(". ") or re.search(r"[/\\\0]|^checkpoint-|^run\.json$", self.name)
        ):
            raise ValueError(
                f"an SAE is kept in a folder of its name, and {self.name!r} can name none there; "
                "use letters, digits, '-', '_' and '.'"
            )
        if not 0 < self.clip < math.inf:
            raise ValueError(
                f"clip is the longest gradient, more than 0; got {self.clip}. A large number, such "
                "as 1e9, clips none"
            )
        if self.hook_out is None and self.skip:
            raise ValueError("skip is for transcoders: say in hook_out where this one writes")
        if self.hook_out == self.hook:
            raise ValueError(
                f"a transcoder writes elsewhere than it reads, and hook_out is {self.hook!r} too; "
                "leave it out for an SAE"
            )
        if self.hook_out is not None and isinstance(self.objective, TopK):
            raise ValueError(
                "SAELens's layout, in which SAEs are saved, has no transcoder with TopK; choose "
                f"BatchTopK({self.objective.k})"
            )
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"precision is 'float32' or 'bfloat16'; got {self.precision!r}")

    def filled(self, d_model: int, processes: int = 1) -> Recipe:
        """The same with everything said that settles if `d_model` numbers are written."""
        d_sae = 16 * d_model if self.d_sae is None else self.d_sae
        return replace(  # which checks what is new
            self,
            d_sae=d_sae,
            objective=self.judged(d_model),
            lr=self.rate(d_sae, d_model),
            shards=self.shards or processes,
            name=self.name or self.hook,
        )

    def judged(self, d_model: int) -> Objective:
        """What is trained for where `d_model` numbers are written."""
        return self.objective or USUAL(k=max(1, min(32, d_model // 8)))

    def rate(self, d_sae: int, d_model: int) -> float:
        """The peak learning rate for a dictionary of `d_sae` features that write `d_model` numbers.

        Gao et al. scale it with the width, in long runs; 2e-3 is the most. Decoder rows that are
        held at unit norm hardly turn in few steps, so that where there are such a short run takes
        longer ones, with the root of how much shorter it is. They end at what is `fastest` for the
        objective; where it keeps k features, and k is less than a quarter of `d_model`, below that,
        at half of it or more, for else more features die. For objectives that keep k, factors and
        ceilings are measured: `tests/benchmarks/curve.py` compares with SAELens.
        """
        if self.lr is not None:
            return self.lr
        long = min(2e-3, 2e-4 / math.sqrt(d_sae / 2**14))
        objective = self.judged(d_model)
        if self.frozen or not objective.unit_rows:
            return long
        most = objective.fastest
        if isinstance(objective, TopK | BatchTopK | Matryoshka):
            most *= min(1.0, max(0.5, math.sqrt(4 * objective.k / d_model)))
        return min(most, long * max(1.0, math.sqrt(LONG / self.steps)))

    @property
    def hooks(self) -> tuple[str, ...]:
        """Where activations are needed."""
        return (self.hook,) if self.hook_out is None else (self.hook, self.hook_out)

    @property
    def silence(self) -> int:
        """The steps without firing after which a feature is dead."""
        return max(1, min(round(self.patience * self.steps), MOST_SILENT // self.batch))

    @property
    def memory(self) -> float:
        """How much of a running mean is kept at each step: it spans at most 100 steps."""
        return 1 - 1 / min(100, max(1, self.steps // 14))

    def to_json(self) -> dict[str, Any]:
        """Everything in values of JSON."""
        objective = None if self.objective is None else self.objective.to_json()
        return {**asdict(self), "objective": objective}
