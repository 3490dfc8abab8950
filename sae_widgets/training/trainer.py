"""Train an SAE with `transformers.Trainer`: its loop, schedule, clipping and progress bar.

The inputs are scaled by one constant so that E[|x|^2] = d_model, which makes one learning rate
serve models of any norm; the constant is folded into the weights when training ends. Decoder rows
keep unit norm. What a threshold of the batch was during training becomes the threshold of a
JumpReLU, so that afterwards a vector's features do not depend on its neighbours.
"""

import math
import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Trainer, TrainerCallback, TrainingArguments

from sae_widgets.sae import SAE, JumpReLU
from sae_widgets.training.activations import Rows, Source
from sae_widgets.training.objectives import Objective


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train. `lr` None: 2e-4 / sqrt(d_sae / 2^14), at most 2e-3.

    `warmup` and `decay` are shares of the run. A feature is dead when it has not fired for
    `patience` of the run. With `frozen` the decoder keeps its random directions: a placebo.
    """

    steps: int = 1000
    batch: int = 2048
    lr: float | None = None
    warmup: float = 0.05
    decay: float = 0.2
    clip: float = 1.0
    patience: float = 0.05
    seed: int = 0
    frozen: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError(f"steps and batch must be at least 1; got {self.steps}, {self.batch}.")

    def rate(self, d_sae: int) -> float:
        """The peak learning rate for a dictionary of `d_sae` features."""
        return min(2e-3, 2e-4 / math.sqrt(d_sae / 2**14)) if self.lr is None else self.lr


class Learner(nn.Module):
    """An SAE in training, with its objective and what is counted along the way."""

    threshold: Tensor  # running mean of the smallest kept value
    silent: Tensor  # [feature] steps since it last fired
    scale: Tensor  # inputs are multiplied by it

    def __init__(
        self,
        sae: SAE,
        objective: Objective,
        scale: float,
        patience: int,
        memory: float = 0.99,
    ) -> None:
        super().__init__()
        self.sae = sae
        self.objective = objective
        self.patience = patience
        self.memory = memory
        self.register_buffer("threshold", torch.tensor(-1.0))
        self.register_buffer("silent", torch.zeros(sae.W_dec.shape[0], dtype=torch.long))
        self.register_buffer("scale", torch.tensor(scale))

    def forward(self, x: Float[Tensor, "vector d_model"]) -> dict[str, Tensor]:
        """The loss of a batch; counts firings and follows the threshold while training."""
        outcome = self.objective(self.sae, x.float() * self.scale, self.silent > self.patience)
        if self.training:
            with torch.no_grad():
                fired = (outcome.values > 0).any(0)
                self.silent.add_(1).masked_fill_(fired, 0)
                first = bool(self.threshold < 0)
                self.threshold.lerp_(outcome.threshold, 1.0 if first else 1 - self.memory)
        return {"loss": outcome.loss}

    @torch.no_grad()
    def finished(self) -> SAE:
        """The trained SAE for activations as the model makes them, as a JumpReLU.

        With y = s x inside and unit rows in `W_dec`, dividing both biases, the thresholds and so
        every feature's value by s gives the same reconstruction of x itself.
        """
        inner = self.sae
        d_model, d_sae = inner.W_enc.shape
        threshold = (self.threshold / self.scale).expand(d_sae).clone()
        sae = SAE(d_model, d_sae, inner.hook, JumpReLU(threshold), pre_bias=True)
        sae.W_enc.copy_(inner.W_enc)
        sae.W_dec.copy_(inner.W_dec)
        sae.b_enc.copy_(inner.b_enc / self.scale)
        sae.b_dec.copy_(inner.b_dec / self.scale)
        return sae.requires_grad_(False).eval()


class UnitRows(TrainerCallback):
    """Keep decoder rows at unit norm: steps along a row are taken out, and drift put right."""

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        W_dec = kwargs["model"].sae.W_dec
        if W_dec.grad is not None:
            along = (W_dec.grad * W_dec).sum(1, keepdim=True)
            W_dec.grad.sub_(along * W_dec.detach())

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ARG002
        W_dec = kwargs["model"].sae.W_dec
        if W_dec.requires_grad:
            with torch.no_grad():
                W_dec.div_(W_dec.norm(dim=1, keepdim=True))


class SAETrainer(Trainer):
    """`transformers.Trainer` for a `Learner`: batches are tensors, decoder rows stay unit."""

    def __init__(
        self,
        learner: Learner,
        activations: Any,
        recipe: Recipe,
        folder: str,
        *,
        progress: bool = True,
    ) -> None:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=recipe.steps,
            per_device_train_batch_size=recipe.batch,
            learning_rate=recipe.rate(learner.sae.W_dec.shape[0]),
            weight_decay=0.0,
            max_grad_norm=recipe.clip,
            lr_scheduler_type="warmup_stable_decay",
            warmup_steps=max(1, round(recipe.warmup * recipe.steps)),
            lr_scheduler_kwargs={
                "num_decay_steps": round(recipe.decay * recipe.steps),
                "decay_type": "linear",
            },
            dataloader_drop_last=True,
            dataloader_pin_memory=torch.cuda.is_available(),
            seed=recipe.seed,
            data_seed=recipe.seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            disable_tqdm=not progress,
            logging_nan_inf_filter=False,
            remove_unused_columns=False,
        )
        super().__init__(
            model=learner,
            args=arguments,
            train_dataset=activations,
            data_collator=as_input,
            callbacks=[UnitRows()],
        )


def as_input(batch: Any) -> dict[str, Tensor]:
    """What the loader read, as the learner's argument."""
    return {"x": batch if isinstance(batch, Tensor) else torch.stack(list(batch))}


def train(
    activations: Source,
    objective: Objective,
    *,
    hook: str,
    d_sae: int,
    recipe: Recipe | None = None,
    progress: bool = True,
) -> SAE:
    """Train an SAE of `d_sae` features for `hook` on `activations` (a `Rows` or a `Stream`)."""
    recipe = recipe or Recipe()
    sample = activations.sample(32_768, recipe.seed).float()
    d_model = sample.shape[1]
    if not torch.isfinite(sample).all():
        raise ValueError(
            "the activations hold NaN or infinite numbers; look at the model's output."
        )
    if objective.k > d_sae:
        raise ValueError(f"k = {objective.k} features cannot fire of a dictionary of {d_sae}.")
    if isinstance(activations, Rows) and len(activations) < recipe.batch:
        raise ValueError(
            f"{len(activations)} vectors do not fill one batch of {recipe.batch}: collect more, or "
            "pass a Recipe with a smaller batch"
        )
    scale = math.sqrt(d_model) / float(sample.square().sum(1).mean().sqrt())
    learner = Learner(
        initial(d_model, d_sae, hook, geometric_median(sample[:8192] * scale), recipe),
        objective,
        scale,
        patience=max(1, round(recipe.patience * recipe.steps)),
    )
    # The trainer asks for a folder, though nothing is kept there.
    with tempfile.TemporaryDirectory(prefix="sae-widgets-") as folder:
        SAETrainer(learner, activations, recipe, folder, progress=progress).train()
    return learner.to("cpu").finished()


def initial(
    d_model: int, d_sae: int, hook: str, centre: Float[Tensor, " d_model"], recipe: Recipe
) -> SAE:
    """An untrained SAE: random unit directions, the encoder their transpose, no offsets."""
    generator = torch.Generator().manual_seed(recipe.seed)
    directions = F.normalize(torch.randn(d_sae, d_model, generator=generator), dim=1)
    sae = SAE(d_model, d_sae, hook, pre_bias=True)
    with torch.no_grad():
        sae.W_dec.copy_(directions)
        sae.W_enc.copy_(directions.T)
        sae.b_enc.zero_()
        sae.b_dec.copy_(centre)
    sae.requires_grad_(True)
    sae.W_dec.requires_grad_(not recipe.frozen)
    return sae


def geometric_median(
    x: Float[Tensor, "vector d_model"], rounds: int = 50
) -> Float[Tensor, " d_model"]:
    """The point whose summed distance to all vectors is least (Weiszfeld's iteration)."""
    centre = x.mean(0)
    for _ in range(rounds):
        weight = 1 / (x - centre).norm(dim=1).clamp(min=1e-6)
        centre = (weight[:, None] * x).sum(0) / weight.sum()
    return centre
