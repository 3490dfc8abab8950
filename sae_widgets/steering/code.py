"""Edits as Python: for sae_widgets, and for TransformerLens alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import NoneType

import torch

from sae_widgets.model import Model
from sae_widgets.steering.acts import Act, Move, Push
from sae_widgets.steering.arms import Arm
from sae_widgets.steering.conditions import Sense
from sae_widgets.steering.edits import AnyEdit
from sae_widgets.steering.terms import SAEs, by_name, terms
from sae_widgets.tokens import special_ids


def to_code(edits: Sequence[AnyEdit]) -> str:
    """Python that makes these edits, `edits = [...]`, with the imports it needs. Nothing is cut."""
    parts = [part for edit in edits for part in (edit, edit.where, edit.schedule, *_senses(edit))]
    names = {type(part).__name__ for part in parts if not isinstance(part, str | NoneType)}
    imports = f"from sae_widgets import {', '.join(sorted(names))}\n\n" if names else ""
    lines = [f"    {edit.to_code()}," for edit in edits]
    return imports + "\n".join(["edits = [", *lines, "]", ""])


def _senses(edit: AnyEdit) -> Iterable[Sense]:
    return () if edit.when is None else edit.when.senses()


def to_hook_code(model: Model, sae: SAEs, edits: Sequence[AnyEdit]) -> str:
    """Python that does the same to a text read at once, with TransformerLens and torch alone.

    It needs a `model` of TransformerLens and, by name, each SAE as `saes[name]`: anything with
    `encode` and `W_dec`, such as SAELens's. Edits that know the prompt from what is written, wait
    for a condition, or do more than move a value are refused.
    """
    saes = by_name(sae)
    on = [edit for edit in edits if edit.on]
    for edit in on:
        if edit.where != "all" or edit.schedule is not None or edit.when is not None:
            raise ValueError(
                f"{edit!r} acts only at some tokens, which a hook alone does not know; to_code() "
                "gives code with sae_widgets"
            )
    hooks: dict[str, list[str]] = {}
    for edit, term in zip(on, terms(Arm("code", tuple(on)), saes), strict=True):
        line = f"{_act(edit, term.act)}  # {edit!r}"
        hooks.setdefault(term.hook, []).append(line)
    special = sorted(special_ids(model.tokenizer))
    lines = [
        "import torch",
        "",
        f"SPECIAL = torch.tensor({special})  # token ids that are never edited",
        "",
        "",
        "def steered(model, saes, tokens):",
        '    """Logits for `tokens` [row, position] under the edits."""',
        "    ordinary = ~torch.isin(tokens, SPECIAL.to(tokens.device))[..., None]",
        "    hooks = []",
    ]
    for number, (hook, acts) in enumerate(hooks.items()):
        lines += [
            "",
            f"    def edit_{number}(activation, hook):",
            "        h = activation.flatten(2)",
            "        delta = torch.zeros_like(h)",
            *(f"        delta += {act}" for act in acts),
            "        return (h + delta * ordinary).reshape(activation.shape)",
            "",
        ]
        lines += [f"    hooks.append(({hook!r}, edit_{number}))"]
    lines += ["", "    with model.hooks(fwd_hooks=hooks):", "        return model(tokens)", ""]
    return "\n".join(lines)


def _act(edit: AnyEdit, act: Act) -> str:
    """What is added to `h`, as an expression."""
    if isinstance(act, Push | Move) and act.sae is not None and act.sae.rescales:
        raise ValueError(
            f"{edit!r} counts in units of what SAE {act.sae.name!r} makes of each activation, and "
            "has no short form in plain code; to_code() gives code with sae_widgets"
        )
    if isinstance(act, Push) and not act.instead:
        return _tensor(act.direction)
    if not isinstance(act, Move):
        raise ValueError(
            f"{edit!r} does more than move one value, and has no short form in plain code; "
            "to_code() gives code with sae_widgets"
        )
    value = f"(h @ {_tensor(act.direction)})[..., None]"
    if act.sae is not None:
        value = f"saes[{act.sae.name!r}].encode(h)[..., [{act.feature}]]"
    new = f"({act.target!r} + {act.keep!r} * {value})"
    if act.low > -torch.inf or act.high < torch.inf:
        new += f".clamp({_bound(act.low)}, {_bound(act.high)})"
    return f"({new} - {value}) * {_tensor(act.direction)}"


def _bound(value: float) -> str:
    return repr(value) if abs(value) < torch.inf else f'float("{value}")'


def _tensor(vector: torch.Tensor) -> str:
    return f"torch.tensor({vector.tolist()}).to(h)"
