"""What a sparse autoencoder is trained to do: reconstruct its input from few features.

An `Objective` says what is charged for, how the dictionary starts, what of it is held fixed, and
what the SAE is once it is trained. Here are those that keep a number of values: `TopK` (Gao et al.
2024, arXiv 2406.04093) the `k` largest of each vector, `BatchTopK` (Bussmann et al. 2024, arXiv
2412.06410) the `k * n` largest of a batch of `n`, so that a hard vector may use more features than
an easy one. `Matryoshka` (Bussmann et al. 2025, arXiv 2503.17547) also asks every prefix of the
dictionary to reconstruct alone. Those that charge for values are in `penalties`.

All expect inputs scaled so that E[|x|^2] = d_model; these charge the mean squared error a number,
which is then about 1 before training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from sae_widgets import sae as forms
from sae_widgets.sae import SAE, Activation, JumpReLU
from sae_widgets.training import agree
from sae_widgets.training.codes import Chooser, Code, chooser

WEIGHTS = ("W_enc", "b_enc", "W_dec", "b_dec", "W_skip")
"""What an SAE consists of; more is for training alone."""


@dataclass(frozen=True)
class Batch:
    """What an objective judges: vectors `x` to read and `y` to write; those of an SAE are equal.

    dead: the features that have not fired for long. progress: the share of the run that is over.
    """

    x: Float[Tensor, "vector d_in"]
    y: Float[Tensor, "vector d_model"]
    dead: Bool[Tensor, " feature"]
    progress: float = 1.0


@dataclass(frozen=True)
class Outcome:
    """What one batch says: the loss to follow, and what the trainer keeps count of."""

    loss: Float[Tensor, ""]
    guess: Float[Tensor, "vector d_model"]  # what the dictionary writes
    fired: Int[Tensor, " feature"]  # on how many vectors each feature fires
    threshold: Float[Tensor, ""] | None = None  # the smallest value that was kept


class Objective:
    """How an SAE is judged on a batch, and what it is before and after training."""

    pre_bias: ClassVar[bool] = True
    """The decoder's bias is taken away from what the encoder reads."""
    unit_rows: ClassVar[bool] = True
    """Decoder rows are held at unit norm."""
    row_norm: ClassVar[float] = 1.0
    """The norm that they start with."""
    fastest: ClassVar[float] = 8e-3
    """The highest `lr` that a `Recipe` without one chooses, however short the run (see `rate`)."""

    @property
    def target(self) -> float | None:
        """How many features are to fire on a vector, where the objective says so."""
        return getattr(self, "k", None)

    def check(self, d_sae: int) -> None:
        """Raise if a dictionary of `d_sae` features cannot be trained so."""

    def equip(self, sae: SAE) -> None:
        """Give an untrained SAE the parameters, beside its own, that training needs."""

    def start(self, sae: SAE, x: Float[Tensor, "vector d_in"]) -> None:
        """Set what depends on the first activations."""

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        raise NotImplementedError

    def finished(self, sae: SAE, threshold: float) -> SAE:
        """The trained SAE, in the scale of its training; `threshold` is that of its batches."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """The objective's name and settings."""
        return {"name": type(self).__name__, **asdict(self)}  # type: ignore[call-overload]


@dataclass(frozen=True)
class TopK(Objective):
    """Squared error with the `k` strongest features of each vector, and a rescue for dead ones.

    `rescue` weighs the auxiliary loss of Gao et al. 2024: the strongest dead features reconstruct
    what the living ones missed, which gives them a gradient to come back by. `multi` weighs the
    error with 4 k features (their Multi-TopK, with 1/8): such an SAE bears another k later.
    """

    k: int
    rescue: float = 1 / 32
    multi: float = 0.0

    fastest: ClassVar[float] = 1.6e-2

    def __post_init__(self) -> None:
        check_k(self.k)
        check_charge("rescue", self.rescue)
        check_charge("multi", self.multi)

    def check(self, d_sae: int) -> None:
        check_room(self.k, d_sae)
        if self.multi and 4 * self.k > d_sae:
            raise ValueError(
                f"Multi-TopK also keeps 4 k = {4 * self.k} features of a vector, and the "
                f"dictionary has {d_sae}; choose a smaller k, or multi=0"
            )

    def start(self, sae: SAE, x: Float[Tensor, "vector d_in"]) -> None:
        level(sae, x, self.k)

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        counts = [self.k, 4 * self.k] if self.multi else [self.k]
        choose = chooser(sae, batch.x, counts[-1])
        codes = choose.of_each(counts)
        guesses = [written(sae, code, batch, ())[0] for code in codes]
        loss = error(batch, guesses[0])
        if self.multi:
            loss = loss + self.multi * error(batch, guesses[1])
        loss = loss + rescued(sae, batch, choose, guesses[0], self.rescue)
        return Outcome(loss, guesses[0], codes[0].fired())

    def finished(self, sae: SAE, threshold: float) -> SAE:  # noqa: ARG002
        return plain(sae, forms.TopK(self.k))


@dataclass(frozen=True)
class BatchTopK(Objective):
    """Squared error with `k` features a vector on average, and a rescue for dead features.

    The trained SAE is a JumpReLU: what was the smallest value kept in a batch is the threshold of
    all features, so that those of a vector do not depend on its neighbours.
    """

    k: int
    rescue: float = 1 / 32

    fastest: ClassVar[float] = 1.25e-2

    def __post_init__(self) -> None:
        check_k(self.k)
        check_charge("rescue", self.rescue)

    def check(self, d_sae: int) -> None:
        check_room(self.k, d_sae)

    def start(self, sae: SAE, x: Float[Tensor, "vector d_in"]) -> None:
        level(sae, x, self.k)

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        return of_batch(sae, batch, self.k, self.rescue, prefixes=())

    def finished(self, sae: SAE, threshold: float) -> SAE:
        return plain(sae, JumpReLU(torch.full((sae.d_sae,), threshold, dtype=torch.float32)))


@dataclass(frozen=True)
class Matryoshka(Objective):
    """BatchTopK in which the first `prefixes[0]`, `prefixes[1]`, ... features suffice alone.

    The last prefix is the whole dictionary. All prefixes weigh the same. None: a sixteenth, an
    eighth, a quarter, a half and all of it.
    """

    k: int
    prefixes: tuple[int, ...] | None = None
    rescue: float = 1 / 32

    fastest: ClassVar[float] = 6e-3  # with larger ones, many features of the last prefix die

    def __post_init__(self) -> None:
        check_k(self.k)
        check_charge("rescue", self.rescue)
        if self.prefixes is not None and (
            not self.prefixes
            or list(self.prefixes) != sorted(set(self.prefixes))
            or self.prefixes[0] < 1
        ):
            raise ValueError(
                f"Matryoshka prefixes must grow, and end with the dictionary's width; "
                f"got {self.prefixes}. For 256 features, for example, (32, 64, 128, 256)."
            )

    def check(self, d_sae: int) -> None:
        check_room(self.k, d_sae)
        if self.prefixes is not None and self.prefixes[-1] != d_sae:
            raise ValueError(
                f"the last Matryoshka prefix is {self.prefixes[-1]}, but the dictionary has "
                f"{d_sae} features; they must be equal."
            )
        if self.prefixes is None and d_sae < 16:
            raise ValueError(f"{d_sae} features are too few for prefixes; say which, or BatchTopK")

    def ends(self, d_sae: int) -> tuple[int, ...]:
        """How many features each prefix has."""
        return self.prefixes or tuple(d_sae // part for part in (16, 8, 4, 2, 1))

    def start(self, sae: SAE, x: Float[Tensor, "vector d_in"]) -> None:
        level(sae, x, self.k)

    def __call__(self, sae: SAE, batch: Batch) -> Outcome:
        return of_batch(sae, batch, self.k, self.rescue, self.ends(sae.d_sae))

    def finished(self, sae: SAE, threshold: float) -> SAE:
        return plain(sae, JumpReLU(torch.full((sae.d_sae,), threshold, dtype=torch.float32)))


@torch.no_grad()
def level(sae: SAE, x: Float[Tensor, "vector d_in"], k: int) -> None:
    """Scale an untrained encoder so that the `k` strongest features write neither more nor less.

    Random directions overlap, so that with many of them the first guess is several times what it
    should be. (Gao et al. 2024, appendix A.1, match norms; here it is the least squared error.)
    """
    if sae.is_transcoder:
        return  # what its features write does not depend on what they read yet
    (code,) = chooser(sae, x, k).of_each([k])
    guess = code.parts(sae.W_dec, [sae.d_sae])[0]
    share = ((x - sae.b_dec) * guess).sum() / guess.square().sum()
    if torch.isfinite(share):  # else nothing fires on these vectors
        sae.W_enc.mul_(share)


def of_batch(sae: SAE, batch: Batch, k: int, rescue: float, prefixes: Sequence[int]) -> Outcome:
    """The loss with the `k` largest values a vector of all processes' batches together."""
    choose = chooser(sae, batch.x, k)
    everyone = int(agree.total(torch.tensor(len(batch.x), device=batch.x.device)))
    code, smallest = choose.of_all(k * everyone)
    guesses = written(sae, code, batch, prefixes)
    loss = torch.stack([error(batch, guess) for guess in guesses]).mean()
    loss = loss + rescued(sae, batch, choose, guesses[-1], rescue)
    return Outcome(loss, guesses[-1], code.fired(), smallest)


def written(
    sae: SAE, code: Code, batch: Batch, prefixes: Sequence[int]
) -> list[Float[Tensor, "vector d_model"]]:
    """What each prefix of the dictionary writes; without prefixes, what all of it does."""
    guess = base(sae, batch)
    guesses = []
    for part in code.parts(sae.W_dec, prefixes or [sae.d_sae]):
        guess = guess + part
        guesses.append(guess)
    return guesses


def base(sae: SAE, batch: Batch) -> Float[Tensor, "vector d_model"]:
    """What is written where no feature fires."""
    bias = sae.b_dec.expand_as(batch.y)
    return bias if sae.W_skip is None else bias + batch.x @ sae.W_skip.T


def error(batch: Batch, guess: Float[Tensor, "vector d_model"]) -> Float[Tensor, ""]:
    """Mean squared error a number."""
    return (batch.y - guess).square().mean()


def rescued(
    sae: SAE,
    batch: Batch,
    choose: Chooser,
    guess: Float[Tensor, "vector d_model"],
    weight: float,
) -> Float[Tensor, ""] | float:
    """`weight` times how badly dead features reconstruct what the others missed.

    The strongest d_model / 2 of them are asked. 1 is as bad as predicting the mean of what was
    missed; zero where nothing was missed, or no feature is dead.
    """
    if not weight or not bool(batch.dead.any()):
        return 0.0
    missed = (batch.y - guess).detach()
    index = batch.dead.nonzero().squeeze(1)
    code = choose.among(index, min(missed.shape[1] // 2, len(index)))
    return weight * rescue_loss(missed, code.parts(sae.W_dec[index], [len(index)])[0])


def rescue_loss(
    missed: Float[Tensor, "vector d_model"], guess: Float[Tensor, "vector d_model"]
) -> Float[Tensor, ""]:
    """Squared error of `guess` as a share of the variance of `missed`."""
    spread = agree.mean((missed - agree.mean(missed.mean(0))).square().mean())
    return torch.nan_to_num((missed - guess).square().mean() / spread, nan=0.0, posinf=0.0)


@torch.no_grad()
def plain(sae: SAE, activation: Activation) -> SAE:
    """A copy of an SAE in training that is nothing but an SAE."""
    copy = SAE(
        sae.d_model,
        sae.d_sae,
        sae.hook,
        activation,
        pre_bias=sae.pre_bias,
        d_in=sae.d_in,
        hook_out=sae.hook_out if sae.is_transcoder else None,
        skip=sae.W_skip is not None,
    )
    copy.load_state_dict(
        {name: held for name, held in sae.state_dict().items() if name in WEIGHTS}, strict=False
    )
    return copy


def check_k(k: float) -> None:
    """Raise unless `k` can be a number of features."""
    if not isinstance(k, int) or k < 1:
        raise ValueError(
            "k is the mean number of features that fire on a vector, a whole number from 1; "
            f"got {k!r}."
        )


def check_room(k: int, d_sae: int) -> None:
    """Raise unless `k` features can fire of `d_sae`."""
    if k > d_sae:
        raise ValueError(f"k = {k} features cannot fire of a dictionary of {d_sae}.")


def check_charge(name: str, weight: float, ramp: float = 0.0) -> None:
    """Raise unless something can be charged for so."""
    if not 0 <= weight < math.inf:
        raise ValueError(f"{name} weighs what is charged for: finite, 0 or more; got {weight}")
    if not 0 <= ramp <= 1:
        raise ValueError(f"ramp is a share of the run, from 0 to 1; got {ramp}")
