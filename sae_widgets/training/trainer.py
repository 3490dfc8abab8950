"""Train SAEs with `transformers.Trainer`: its loop, schedule, checkpoints and progress bar.

The inputs are scaled by one constant so that E[|x|^2] = d_model, which makes one learning rate
serve models of any norm; the constant is folded into the weights when training ends, and so are
the norms of decoder rows. What a transcoder reads and what it writes have each a scale of their
own, about their means. Several SAEs may learn side by side from the same tokens: each is as it
would be alone.
"""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.trainer_callback import ProgressCallback

from sae_widgets.model import restoring
from sae_widgets.sae import SAE, JumpReLU, Relu
from sae_widgets.training import agree
from sae_widgets.training.activations import Rows, Vectors
from sae_widgets.training.folder import last_checkpoint, seal, step_of
from sae_widgets.training.modes import own_modes
from sae_widgets.training.objectives import Batch, Outcome
from sae_widgets.training.recipe import Recipe
from sae_widgets.training.tally import Tally

T = TypeVar("T")

logger = logging.getLogger(__name__)

SAMPLE = 32_768
"""From so many vectors an SAE's scale and the place it starts at are taken."""

TURN = 4.0
"""How many times the learning rate of the rest is that of decoder rows held at unit norm.

Of a step of such a row only what turns it counts. Measured with TopK, BatchTopK and Matryoshka in
`tests/benchmarks/curve.py`: it leaves less unexplained, and fewer features die.
"""


MANY = 0.2
"""From which share of dead features on it is said when a training ends.

Where all is well it is less than half of that: at most 7 % in the trainings of the README.
"""


class Learner(nn.Module):
    """An SAE in training, with its objective and what is counted along the way."""

    threshold: Tensor  # running mean of the smallest kept value
    silent: Tensor  # [feature] steps since it last fired
    scale: Tensor  # what is read is multiplied by it
    centre: Tensor  # [d_in] taken away before that; 0 of an SAE, which has its b_dec
    scale_out: Tensor  # what is to be written is multiplied by it
    seen: Tensor  # steps made

    def __init__(
        self,
        sae: SAE,
        recipe: Recipe,
        scale: float,
        *,
        centre: Float[Tensor, " d_in"] | None = None,
        scale_out: float | None = None,
    ) -> None:
        super().__init__()
        self.sae = sae
        self.recipe = recipe
        self.objective = settled(recipe.objective)
        self.tally = Tally(sae.d_model, sae.d_sae)
        self.register_buffer("threshold", torch.tensor(-1.0, dtype=torch.float32))
        self.register_buffer("silent", torch.zeros(sae.d_sae, dtype=torch.long))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        nowhere = torch.zeros(sae.d_in, dtype=torch.float32)
        self.register_buffer("centre", nowhere if centre is None else centre)
        scale_out = scale if scale_out is None else scale_out
        self.register_buffer("scale_out", torch.tensor(scale_out, dtype=torch.float32))
        self.register_buffer("seen", torch.tensor(0))

    @property
    def dead(self) -> Tensor:
        """The features that have not fired for long."""
        return self.silent > self.recipe.silence

    @property
    def dead_share(self) -> float:
        """Which share of the features that is."""
        return self.dead.float().mean().item()

    def forward(
        self,
        x: Float[Tensor, "vector d_in"],
        y: Float[Tensor, "vector d_model"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of a batch; counts firings and follows the threshold while training.

        y: what a transcoder is to write; None: an SAE is to write `x`.
        """
        x = (x.float() - self.centre) * self.scale
        y = x if y is None else y.float() * self.scale_out
        batch = Batch(x, y, self.dead, float(self.seen) / self.recipe.steps)
        outcome = self.objective(self.sae, batch)
        if self.training:
            self._count(batch, outcome)
        return outcome.loss

    @torch.no_grad()
    def _count(self, batch: Batch, outcome: Outcome) -> None:
        fired = agree.total(outcome.fired)
        self.seen += 1
        self.silent.add_(1).masked_fill_(fired > 0, 0)
        if outcome.threshold is not None:
            first = bool(self.threshold < 0)
            self.threshold.lerp_(outcome.threshold, 1.0 if first else 1 - self.recipe.memory)
        self.tally.add(outcome.loss, batch.y, outcome.guess, outcome.fired)

    def log(self) -> dict[str, Any]:
        """What was counted since the last time, of all processes."""
        threshold = {"threshold": self.threshold.item()} if self.threshold > 0 else {}
        return {**self.tally.read(), "dead": self.dead_share, **threshold}

    @torch.no_grad()
    def finished(self) -> SAE:
        """The trained SAE for activations as the model makes them, with directions of unit norm."""
        inner = self.objective.finished(self.sae, float(self.threshold))
        sae = rescaled(inner if self.objective.unit_rows else unit(inner), float(self.scale_out))
        if sae.is_transcoder:
            sae = reading(sae, float(self.scale / self.scale_out), self.centre.to(sae.W_enc))
        sae.name = sae.title = self.recipe.name or self.recipe.hook
        return sae.requires_grad_(False).eval()


def trouble(recipe: Recipe, dead: float) -> str | None:
    """What to say of an SAE of which a share is dead, and what helps; None where few are."""
    if dead < MANY:
        return None
    name = recipe.name or recipe.hook
    return (
        f"{100 * dead:.0f} % of the {recipe.d_sae} features of SAE {name!r} are dead: they did "
        f"not fire in the last {recipe.silence} steps. A smaller lr than {settled(recipe.lr):.2g} "
        "helps most often; else fewer features (d_sae), or more steps"
    )


class Learners(nn.Module):
    """SAEs that learn from the same tokens."""

    def __init__(self, learners: Sequence[Learner]) -> None:
        super().__init__()
        self.each = nn.ModuleList(learners)

    def __iter__(self) -> Any:
        return iter(self.each)

    def forward(self, x: Mapping[str, Float[Tensor, "vector _"]]) -> dict[str, Tensor]:
        """The sum of the losses. The gradient of each SAE comes from its own."""
        losses = [learner(*(x[hook] for hook in learner.recipe.hooks)) for learner in self]
        return {"loss": torch.stack(losses).sum()}

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        # The encoder lies in memory by feature, and safetensors takes nothing that lies so.
        state = super().state_dict(*args, **kwargs)
        return {name: tensor.contiguous() for name, tensor in state.items()}


@torch.no_grad()
def unit(sae: SAE) -> SAE:
    """The same SAE with decoder rows of unit norm: f |d| is the value, d / |d| the direction."""
    if not isinstance(sae.activation, Relu | JumpReLU):
        return sae  # which features a TopK keeps would change
    norm = sae.W_dec.norm(dim=1).clamp(min=torch.finfo(sae.W_dec.dtype).tiny)
    sae.W_dec.div_(norm[:, None])
    sae.W_enc.mul_(norm)
    sae.b_enc.mul_(norm)
    if isinstance(sae.activation, JumpReLU):
        sae.activation.threshold.mul_(norm)
    return sae


@torch.no_grad()
def rescaled(sae: SAE, scale: float) -> SAE:
    """The SAE for x where it was one for y = scale * x, with the same directions.

    Dividing both biases, the thresholds and so every feature's value by the scale gives the same
    reconstruction of x itself.
    """
    sae.b_enc.div_(scale)
    sae.b_dec.div_(scale)
    if isinstance(sae.activation, JumpReLU):
        sae.activation.threshold.div_(scale)
    return sae


@torch.no_grad()
def reading(sae: SAE, scale: float, centre: Float[Tensor, " d_in"]) -> SAE:
    """The transcoder for x where it was one for scale * (x - centre), with the same output."""
    sae.b_enc.sub_(scale * centre @ sae.W_enc)
    sae.W_enc.mul_(scale)
    if sae.W_skip is not None:
        sae.b_dec.sub_(scale * sae.W_skip @ centre)
        sae.W_skip.mul_(scale)
    return sae


class UnitRows(TrainerCallback):
    """Keep decoder rows at unit norm: steps along a row are taken out, and drift put right."""

    @torch.no_grad()
    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        for W_dec in held(kwargs["model"]):
            if W_dec.grad is not None:
                along = (W_dec.grad * W_dec).sum(1, keepdim=True)
                W_dec.grad.addcmul_(along, W_dec, value=-1)

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        for W_dec in held(kwargs["model"]):
            W_dec.div_(W_dec.norm(dim=1, keepdim=True))


def held(learners: Iterable[Learner]) -> list[nn.Parameter]:
    """The decoders whose rows are held at unit norm, and are not frozen."""
    decoders = [each.sae.W_dec for each in learners if each.objective.unit_rows]
    return [W_dec for W_dec in decoders if W_dec.requires_grad]


def groups_of(learner: Learner) -> list[dict[str, Any]]:
    """What Adam trains of a learner, and how fast; in front is what has the rate of the recipe."""
    turned = held([learner])
    rest = [
        p for p in learner.parameters() if p.requires_grad and not any(p is row for row in turned)
    ]
    rate = settled(learner.recipe.lr)
    same = {"betas": (learner.recipe.beta1, 0.999), "weight_decay": 0.0}
    groups = [{"params": rest, "lr": rate, **same}]
    return [*groups, {"params": turned, "lr": TURN * rate, **same}] if turned else groups


class Progress(ProgressCallback):
    """A bar with the newest figures beside it."""

    def on_log(
        self,
        args: Any,  # noqa: ARG002
        state: Any,  # noqa: ARG002
        control: Any,  # noqa: ARG002
        logs: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> None:
        bar: Any = self.training_bar
        if bar is not None and logs:
            shown = {name: logs[name] for name in ("loss", "fvu", "l0", "dead") if name in logs}
            bar.set_postfix({name: f"{x:.3g}" for name, x in shown.items()})


class Endless(IterableDataset[Vectors]):
    """A stream as torch's loader takes it."""

    def __init__(self, stream: Iterable[Vectors]) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Vectors]:
        return iter(self.stream)


class SAETrainer(Trainer):
    """`transformers.Trainer` for `Learners`: batches are vectors by hook point.

    What the log holds beside loss, learning_rate and grad_norm is in `Learner.log`; with several
    SAEs, whose losses are added up, all figures of each also stand under its name, as in
    "blocks.0.hook_resid_post/fvu".
    """

    def __init__(
        self,
        learners: Learners,
        activations: Rows | Iterable[Vectors],
        arguments: TrainingArguments,
        *,
        callbacks: Sequence[TrainerCallback] = (),
        progress: bool = True,
    ) -> None:
        self.learners = learners
        self.folder = Path(settled(arguments.output_dir))
        super().__init__(
            model=learners,
            args=arguments,
            train_dataset=activations if isinstance(activations, Rows) else Endless(activations),
            data_collator=self._as_input,
            callbacks=[UnitRows(), *([Progress()] if progress else []), *callbacks],
        )
        self.remove_callback(PrinterCallback)

    def get_train_dataloader(self) -> DataLoader[Any]:
        if isinstance(self.train_dataset, Rows):
            return super().get_train_dataloader()
        # A stream makes whole batches, and each process its own part of them.
        assert isinstance(self.train_dataset, Endless)
        return DataLoader(
            self.train_dataset,
            batch_size=None,
            collate_fn=self._as_input,
            pin_memory=self.args.dataloader_pin_memory,
        )

    def _as_input(self, batch: Any) -> dict[str, dict[str, Tensor]]:
        """What the loader read, as the learners' argument."""
        if isinstance(batch, Mapping):
            return {"x": dict(batch)}
        x = batch if isinstance(batch, Tensor) else torch.stack(list(batch))
        return {"x": {learner.sae.hook: x for learner in self.learners}}

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:  # noqa: ARG002
        if self.optimizer is None:
            made, settings = self.get_optimizer_cls_and_kwargs(self.args)
            groups = [group for each in self.learners for group in groups_of(each)]
            self.optimizer = made(groups, **settings)
        return self.optimizer

    def _clip_grad_norm(self, model: nn.Module) -> Tensor:  # noqa: ARG002
        norms = [
            nn.utils.clip_grad_norm_(learner.parameters(), learner.recipe.clip)
            for learner in self.learners
        ]
        self._norms = torch.stack(norms)
        norm: Tensor = self._norms.norm()
        return norm

    def run(self, checkpoint: Path | None) -> None:
        """Train to the end, from a checkpoint on if there is one."""
        if checkpoint is None:
            self.train()
        elif step_of(checkpoint) < self.args.max_steps:
            self.train(resume_from_checkpoint=str(checkpoint))
        else:
            # What was counted for the log is not needed any more; earlier versions kept less of it.
            own = {n: x for n, x in self.learners.state_dict().items() if ".tally." in n}
            self.learners.load_state_dict(own | load_file(checkpoint / "model.safetensors"))
        self._check_parameters()

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        loss: Any = super().compute_loss(*args, **kwargs)
        if not torch.isfinite(loss):
            raise FloatingPointError(
                f"training stopped at step {self.state.global_step + 1}: the loss is "
                f"{loss.item()}. {self._blame(args[1])} {self._last_good()}"
            )
        return loss

    def _check_parameters(self) -> None:
        """Raise if a step has made them no numbers: such are not worth keeping."""
        if not all(bool(p.isfinite().all()) for p in self.learners.parameters()):
            raise FloatingPointError(
                f"training stopped at step {self.state.global_step}: the SAE's weights are no "
                f"numbers any more. A smaller lr helps most often. {self._last_good()}"
            )

    def _blame(self, inputs: Any) -> str:
        for hook, x in inputs["x"].items():
            if not torch.isfinite(x).all():
                return f"The model's activations at {hook!r} hold NaN or infinite numbers."
        return "The activations are finite, so training diverged; a smaller lr helps most often."

    def _last_good(self) -> str:
        last = last_checkpoint(self.folder)
        return f"The last good checkpoint is {last}." if last else "No checkpoint was kept."

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        step = self.state.global_step
        self._check_parameters()
        for learner in self.learners:
            learner.tally.gather()
        try:
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                seal(self.folder / f"checkpoint-{step}")
        except (OSError, RuntimeError, SafetensorError) as error:
            made = self.folder / f"checkpoint-{step}"
            if last_checkpoint(self.folder) != made:  # else an older one was in the way
                shutil.rmtree(made, ignore_errors=True)
            raise OSError(
                f"training stopped at step {step}: its checkpoint could not be kept ({error}). "
                f"{self._last_good()} Make room and resume"
            ) from error

    def _load_from_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_checkpoint(*args, **kwargs)
        for learner in self.learners:
            learner.tally.scatter()

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        if "loss" in logs:
            told = [learner.log() for learner in self.learners]
            if len(told) == 1:
                logs.update(told[0])
            else:
                # The trainer's own sum leaves out the steps before a resumed run's checkpoint.
                logs["loss"] = sum(each["loss"] for each in told)
                recipes = [learner.recipe for learner in self.learners]
                share = logs["learning_rate"] / settled(recipes[0].lr)  # one schedule for all
                for recipe, norm, each in zip(recipes, self._norms, told, strict=True):
                    rate = share * settled(recipe.lr)
                    figures = {"learning_rate": rate, "grad_norm": norm.item(), **each}
                    logs.update({f"{recipe.name}/{figure}": x for figure, x in figures.items()})
        super().log(logs, start_time)


def arguments(
    recipe: Recipe, folder: str, save_every: int | None = None, *, streaming: bool = False
) -> TrainingArguments:
    """The settings of transformers' trainer for a recipe.

    A stream passes over by itself what a resumed run has seen; of rows the trainer does.
    """
    made = TrainingArguments(
        output_dir=folder,
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.batch,
        weight_decay=0.0,
        max_grad_norm=recipe.clip,
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=max(1, round(recipe.warmup * recipe.steps)),
        lr_scheduler_kwargs={
            "num_decay_steps": round(recipe.decay * recipe.steps),
            "decay_type": "linear",
        },
        # Else accelerate takes each of torchrun's processes on processors for one of its own.
        use_cpu=not torch.accelerator.is_available(),
        bf16=recipe.precision == "bfloat16",
        dataloader_drop_last=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        ignore_data_skip=streaming,
        ddp_broadcast_buffers=False,
        ddp_find_unused_parameters=False,
        seed=recipe.seed,
        data_seed=recipe.seed,
        save_strategy="no" if save_every is None else "steps",
        save_steps=save_every or 0,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=max(1, recipe.steps // 100),
        logging_nan_inf_filter=False,
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    # One process uses one accelerator: copies of the learners on others would each count alone.
    if torch.accelerator.is_available() and made.device.type != "cpu":
        made._n_gpu = 1
    return made


@restoring
def alone() -> Iterator[None]:
    """Raise if another training goes on in this process: accelerate keeps one state for all."""
    if not _going_on.acquire(blocking=False):
        raise RuntimeError(
            "another training goes on in this process: wait for it, stop it, or use a process of "
            "its own"
        )
    try:
        yield
    finally:
        _going_on.release()


_going_on = threading.Lock()


def fit(activations: Rows, recipe: Recipe, *, progress: bool = True) -> SAE:
    """Train an SAE on activations in memory. Nothing is kept on disk.

    Raises a RuntimeError while another training goes on in this process.
    """
    if recipe.hook_out is not None:
        raise ValueError(
            "a transcoder needs what it is to write beside what it reads; use train, which makes "
            "both from texts"
        )
    if len(activations) < recipe.batch:
        raise ValueError(
            f"{len(activations)} vectors do not fill one batch of {recipe.batch}: collect more, or "
            "pass a Recipe with a smaller batch"
        )
    # The trainer asks for a folder, though nothing is kept there.
    with (
        alone(),
        own_modes(),
        tempfile.TemporaryDirectory(prefix="sae-widgets-") as folder,
    ):
        sample = activations.sample(SAMPLE, recipe.seed)
        recipe = recipe.filled(sample.shape[1])
        learners = Learners([started(recipe, {recipe.hook: sample})])
        SAETrainer(learners, activations, arguments(recipe, folder), progress=progress).train()
        (learner,) = learners.to("cpu")
        sae: SAE = learner.finished()
    if said := trouble(recipe, learner.dead_share):
        logger.warning(said)
    return sae


def started(recipe: Recipe, sample: Mapping[str, Float[Tensor, "vector _"]]) -> Learner:
    """A learner for vectors like those of `sample`."""
    for hook in recipe.hooks:
        if not torch.isfinite(sample[hook]).all():
            raise ValueError(
                f"the activations at {hook!r} hold NaN or infinite numbers; look at the model's "
                "output."
            )
    x = sample[recipe.hook].float()
    if recipe.hook_out is None:
        scale = scale_of(x)
        first = x[:8192] * scale
        learner = Learner(initial(recipe, geometric_median(first)), recipe, scale)
    else:
        y = sample[recipe.hook_out].float()
        centre, mean = x.mean(0), y.mean(0)
        scale, scale_out = scale_of(x - centre), scale_of(y - mean)
        first = (x[:8192] - centre) * scale
        sae = initial(recipe, mean * scale_out, x.shape[1])
        learner = Learner(sae, recipe, scale, centre=centre, scale_out=scale_out)
    learner.objective.start(learner.sae, first)
    return learner


def scale_of(x: Float[Tensor, "vector d"]) -> float:
    """What makes E[|x|^2] = d."""
    length = float(x.square().sum(1).mean().sqrt())
    if not length:
        raise ValueError("all activations are zero or the same; nothing can be learnt from them")
    return math.sqrt(x.shape[1]) / length


def initial(recipe: Recipe, centre: Float[Tensor, " d_model"], d_in: int | None = None) -> SAE:
    """An untrained SAE: random directions of one norm, the encoder their transpose, no offsets.

    A transcoder, which reads `d_in` numbers, has random directions of its own to read.
    """
    sae = blank(recipe, len(centre), d_in)
    generator = torch.Generator().manual_seed(recipe.seed)
    objective = settled(recipe.objective)

    def directions(d: int) -> Tensor:
        free = torch.randn(sae.d_sae, d, generator=generator, dtype=torch.float32)
        return objective.row_norm * F.normalize(free, dim=1)

    with torch.no_grad():
        sae.W_dec.copy_(directions(sae.d_model))
        sae.W_enc.copy_((directions(sae.d_in) if sae.is_transcoder else sae.W_dec).T)
        if objective.pre_bias or sae.is_transcoder:
            sae.b_dec.copy_(centre)
    return sae


def blank(recipe: Recipe, d_model: int, d_in: int | None = None) -> SAE:
    """An SAE with the parameters that `recipe` trains."""
    objective = settled(recipe.objective)
    sae = SAE(
        d_model,
        settled(recipe.d_sae),
        recipe.hook,
        pre_bias=objective.pre_bias and recipe.hook_out is None,
        d_in=d_in,
        hook_out=recipe.hook_out,
        skip=recipe.skip,
    )
    objective.equip(sae)
    sae.requires_grad_(True)
    sae.W_dec.requires_grad_(not recipe.frozen)
    return sae


def settled(value: T | None) -> T:
    """What a recipe that is filled says."""
    assert value is not None
    return value


def geometric_median(
    x: Float[Tensor, "vector d_model"], rounds: int = 50
) -> Float[Tensor, " d_model"]:
    """The point whose summed distance to all vectors is least (Weiszfeld's iteration)."""
    centre = x.mean(0)
    for _ in range(rounds):
        weight = 1 / (x - centre).norm(dim=1).clamp(min=1e-6)
        centre = (weight[:, None] * x).sum(0) / weight.sum()
    return centre
