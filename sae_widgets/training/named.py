"""Objectives as text: written as in Python, where only a text can be given."""

from __future__ import annotations

import ast
from dataclasses import fields
from typing import Any

from sae_widgets.training.objectives import BatchTopK, Matryoshka, Objective, TopK
from sae_widgets.training.penalties import L1, Gated, JumpReLU, TanhJumpReLU

OBJECTIVES: dict[str, type[Objective]] = {
    each.__name__: each for each in (Matryoshka, BatchTopK, TopK, L1, JumpReLU, TanhJumpReLU, Gated)
}


def read_objective(text: str) -> Objective:
    """The objective that `text` makes: "JumpReLU(l0=16, ramp=0.1)". Nothing of it is run."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Name):
            call = ast.Call(call, [], [])
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError("it is no name with settings in parentheses")
        settings = {each.arg: ast.literal_eval(each.value) for each in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise ValueError(
            f"{text!r} is no objective ({error}); write it as 'Matryoshka(k=16)'"
        ) from error
    return _made(call.func.id, settings)


def _made(name: str, settings: dict[Any, Any]) -> Objective:
    if name not in OBJECTIVES:
        raise ValueError(f"there is no objective {name!r}; there are {', '.join(OBJECTIVES)}")
    kind = OBJECTIVES[name]
    known = [each.name for each in fields(kind)]  # type: ignore[arg-type]
    unknown = [str(each) for each in settings if each not in known]
    if unknown:
        raise ValueError(f"{name} has no {unknown[0]!r}; it has {', '.join(known)}")
    try:
        return kind(**settings)
    except TypeError as error:  # one that it needs is missing, or of another kind
        raise ValueError(f"{name} cannot be made from {settings}: {error}") from error
