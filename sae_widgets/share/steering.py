"""The picture of a steering panel, and what it shows in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sae_widgets.share.color import (
    ACCENT,
    BAND,
    INK,
    LINE,
    NEW,
    OK,
    PAGE,
    SAFE,
    SOFT,
    WARM,
    WELL,
    Color,
    mixed,
)
from sae_widgets.share.flow import Stretch, fork, lay, moved
from sae_widgets.share.numbers import change, count, number, strength
from sae_widgets.share.sheet import MONO, MONO_SMALL, PROSE, SMALL, Point, Sheet, printable

State = Mapping[str, Any]
"""The traits of a widget by name."""

WIDTH = 960
SETTINGS = ("length", "temperature", "seed", "edits", "control")
MOST_TOKENS = 400
"""Of a text: so many are compared and drawn at most."""

REACH, BEYOND = 1.2, 1.5
"""How far a slider reaches: × peak or × norm, and × the recommended strength."""

COURSES = {"decay": "fading", "ramp": "rising", "pulse": "pulsing", "values": "painted"}
NOTHING, NUMBER = ("ablate", "project"), {"scale": "×", "rotate": "°"}


def words(state: State) -> str:
    """What the panel shows, for who cannot see it."""
    edits = "; ".join(_told(edit, state) for edit in state["edits"]) or "none"
    arms = state["run"].get("arms", ())
    written = [f" {_name(arm).capitalize()}: “{_text(arm)}”." for arm in arms]
    return (
        f"Steering panel. Prompt “{printable(state['prompt'])}”, "
        f"{count(state['length'], 'token')}, temperature {strength(state['temperature'])}, "
        f"seed {state['seed']}. Edits: {edits}.{''.join(written)}{_recorded(state['recorded'])}"
    )


def _recorded(recorded: Mapping[str, Any]) -> str:
    """What works without a kernel, too."""
    takes = recorded.get("takes", ())
    if not takes:
        return ""
    edits = {str(take["edit"].get("feature", "a direction")): 0 for take in takes}
    strengths = sorted({each for take in takes for each in take["strengths"]})
    seeds = sorted({take["seed"] for take in takes})
    return (
        f" Recorded: {', '.join(edits)} by {', '.join(map(strength, strengths))}, seed"
        f"{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}."
    )


def _told(edit: Mapping[str, Any], state: State) -> str:
    number, name = _of(edit, state)
    amount = "" if edit["op"] in NOTHING else f" by {strength(edit['strength'])} {_unit(edit)}"
    acts = ", ".join(filter(None, (_where(edit), COURSES.get(_course(edit)))))
    off = "" if edit.get("on", True) else ", off"
    return f"{edit['op']} {number} {name}{amount} ({acts}{off})".replace("  ", " ")


def _name(arm: Mapping[str, Any]) -> str:
    if arm.get("control"):
        return f"control: {arm['control']}"
    return "unsteered" if arm["name"] == "base" else str(arm["name"])


def _text(arm: Mapping[str, Any]) -> str:
    return printable("".join(arm["tokens"]))


def _of(edit: Mapping[str, Any], state: State) -> tuple[str, str]:
    """The number and the name of what an edit is along."""
    if edit.get("vector"):
        return "", f"a direction of {len(edit['vector'])} numbers"
    known = _feature(edit, state)
    return str(edit.get("feature", "")), printable(known.get("label", "")) or "no name yet"


def _feature(edit: Mapping[str, Any], state: State) -> Mapping[str, Any]:
    same = (
        each
        for each in state["features"]
        if (each["feature"], each["sae"]) == (edit.get("feature"), edit.get("sae"))
    )
    return next(same, {})


def _unit(edit: Mapping[str, Any]) -> str:
    unit = edit.get("unit", "peak")
    return NUMBER.get(edit["op"]) or ("raw" if unit == "raw" else f"× {unit}")


def _where(edit: Mapping[str, Any]) -> str:
    where = edit.get("where", "all")
    if isinstance(where, str):
        return "everywhere" if where == "all" else where
    start, stop, step = where["start"], where["stop"], where["step"]
    span = f"from {start}" if stop is None else f"{start}–{stop - 1}"
    return span if step == 1 else f"{span}, every {step}"


def _course(edit: Mapping[str, Any]) -> str:
    return str((edit.get("schedule") or {}).get("kind", "steady"))


def picture(state: State) -> tuple[bytes, float]:
    """A steering panel as a PNG, and how high that is."""
    sheet = Sheet(WIDTH)
    top = _bar(sheet, state)
    for edit in state["edits"]:
        top = _edit(sheet, top, edit, state)
    run = state["run"]
    if run.get("arms"):
        top = _panes(sheet, top, state)
        if state["swept"].get("arms"):
            top = _sweep(sheet, top, state["swept"])
        top = _also(sheet, top, state)
        top = _foot(sheet, top, state)
    else:
        sheet.text(14, top + 26, "Nothing has been written yet.", PROSE, SOFT)
        top += 52
    sheet.frame(top)
    return sheet.png(top), top


def _bar(sheet: Sheet, state: State) -> float:
    """The prompt and the settings; returns where the next part begins."""
    told = (
        f"{count(state['length'], 'token')} · T {strength(state['temperature'])} · "
        f"seed {state['seed']}"
    )
    room = WIDTH - 34 - SMALL.length(told)
    sheet.box(10, 8, room, 32, WELL, radius=6)
    sheet.text(20, 24, MONO.cut(printable(state["prompt"]), room - 20), MONO, INK)
    sheet.text(WIDTH - 12, 24, told, SMALL, SOFT, "rm")
    sheet.rule(47)
    return 48


def _edit(sheet: Sheet, top: float, edit: Mapping[str, Any], state: State) -> float:
    """One edit as a row; returns where the next begins."""
    middle, on = top + 19, edit.get("on", True)
    faded = (lambda color: color) if on else (lambda color: mixed(0.45, color, PAGE))
    push = _push(edit)
    color: Color = faded(WARM if push > 0 else ACCENT if push < 0 else SOFT)
    sheet.disc(17, middle, 6, color if on else PAGE, color)
    number, name = _of(edit, state)
    sheet.text(34, middle, number, MONO, faded(SOFT))
    left = 34 + (MONO.length(number) + 6 if number else 0)
    sheet.text(left, middle, PROSE.cut(name, 262 - left), PROSE, faded(INK))
    op = "project out" if edit["op"] == "project" else edit["op"]
    sheet.text(272, middle, op, PROSE, faded(INK))
    if edit["op"] in NOTHING:
        sheet.box(364, middle - 1.5, 366, 3, LINE, radius=1.5)
        sheet.text(796, middle, "–", PROSE, SOFT, "rm")
    else:
        _slider(sheet, 364, middle, 366, edit, state, color)
        sheet.text(796, middle, strength(edit["strength"]), MONO, faded(INK), "rm")
        sheet.text(804, middle, _unit(edit), SMALL, faded(SOFT))
    sheet.text(862, middle - 7, SMALL.cut(_where(edit), 90), SMALL, faded(SOFT))
    sheet.text(862, middle + 8, COURSES.get(_course(edit), "steady"), SMALL, faded(SOFT))
    sheet.rule(top + 38)
    return top + 39


def _neutral(op: str) -> float:
    """The strength at which an operation changes nothing, or 0."""
    return 1.0 if op == "scale" else 0.0


def _push(edit: Mapping[str, Any]) -> float:
    """Whether an edit pushes its feature up (> 0), down (< 0), or not at all."""
    if edit["op"] in NOTHING or edit["op"] == "ceiling":
        return -1.0
    return float(edit["strength"]) - _neutral(edit["op"])


def _ends(edit: Mapping[str, Any], feature: Mapping[str, Any]) -> tuple[float, float]:
    """The ends of an edit's slider; see `range` in `js/src/edits.ts`."""
    value, op, unit = edit["strength"], edit["op"], edit.get("unit", "peak")
    push = feature.get("push") or {}
    peaks = max(REACH, BEYOND * push.get("strength", 0))
    if op in NUMBER:
        far = 3.0 if op == "scale" else 90.0
    elif unit == "raw":
        far = peaks * feature["peak"] if feature.get("peak") else 10 * REACH
    else:
        far = REACH if unit == "norm" else peaks
    far = max(far, abs(value))
    return (-far, far) if op in ("add", "rotate") else (min(0.0, value), far)


def _slider(
    sheet: Sheet,
    left: float,
    middle: float,
    width: float,
    edit: Mapping[str, Any],
    state: State,
    color: Color,
) -> None:
    feature = _feature(edit, state)
    low, high = _ends(edit, feature)

    def x(value: float) -> float:
        return left + width * min(1.0, max(0.0, (value - low) / (high - low)))

    band = _suggested(edit, state)
    if band:
        sheet.box(x(band[0]), middle - 8, x(band[1]) - x(band[0]), 17, BAND, radius=3)
    sheet.box(left, middle - 1.5, width, 3, LINE, radius=1.5)
    zero, here = x(_neutral(edit["op"])), x(edit["strength"])
    sheet.box(zero - 0.5, middle - 6, 1, 13, SOFT)
    push = feature.get("push")
    if push and edit["op"] == "add" and edit.get("unit", "peak") == "peak":
        best = x(push["strength"])
        sheet.wedge(best, middle - 8, 4, SOFT)
    sheet.box(min(zero, here), middle - 1.5, abs(here - zero), 3, color, radius=1.5)
    sheet.disc(here, middle, 7.5, PAGE, color)


def _suggested(edit: Mapping[str, Any], state: State) -> Sequence[float] | None:
    """Between which strengths an edit shows and is borne, as far as it is known."""
    bands = _measured(state).get("suggested") or ()
    return next(
        (band for each, band in zip(state["edits"], bands, strict=False) if each is edit), None
    )


def _measured(state: State) -> Mapping[str, Any]:
    """What was measured of the run that is shown."""
    same = state["effects"].get("id") == state["run"].get("id")
    return state["effects"] if same else {}


def _panes(sheet: Sheet, top: float, state: State) -> float:
    """The texts side by side; returns where they end."""
    run, arms = state["run"], state["run"]["arms"]
    effects, prompt = _measured(state), run["request"]["prompt"]
    width = WIDTH / len(arms)
    bottoms = []
    for place, arm in enumerate(arms):
        left, room = place * width + 12, width - 24
        other = arms[1 if place == 0 else 0] if len(arms) > 1 else arm
        nll = f"{number(arm['nll'])} nats/token"
        kl = effects.get("mean") if place == 1 else None
        told = nll if kl is None else f"{nll} · KL {number(kl)}"
        sheet.text(left, top + 17, _name(arm), SMALL, SOFT)
        sheet.text(left + room, top + 17, told, MONO_SMALL, SOFT, "rm")
        text = (
            _strip(effects, arm, other)
            if place == 0 and effects.get("kl")
            else _written(prompt, arm, other, steered=place > 0)
        )
        bottoms.append(lay(sheet, left, top + 30, room, text))
    bottom = max(top + 84, *bottoms) + 8
    for place in range(1, len(arms)):
        sheet.box(round(place * width), top, 1, bottom - top, LINE)
    return bottom


def _written(
    prompt: str, arm: Mapping[str, Any], other: Mapping[str, Any], *, steered: bool
) -> Iterator[Stretch]:
    """A text, with what is new against the other one marked."""
    tokens, others = arm["tokens"][:MOST_TOKENS], other["tokens"][:MOST_TOKENS]
    at, new = fork(others, tokens), moved(others, tokens) if steered else [False] * len(tokens)
    yield Stretch(prompt, SOFT)
    for place, token in enumerate(tokens):
        bare = token.lstrip()
        joined = place > 0 and new[place] and new[place - 1] and place != at
        yield Stretch(token[: len(token) - len(bare)], behind=NEW if joined else None)
        yield Stretch(bare, behind=NEW if new[place] else None, fork=place == at)


def _strip(
    effects: Mapping[str, Any], arm: Mapping[str, Any], other: Mapping[str, Any]
) -> Iterator[Stretch]:
    """The unsteered text, under each token how differently the edits would have had it go on."""
    at = fork(other["tokens"], arm["tokens"])
    kls = zip(effects["tokens"], effects["kl"], strict=True)
    for place, (token, kl) in enumerate(kls):
        bare = token.lstrip() or token
        yield Stretch(token[: len(token) - len(bare)])
        yield Stretch(
            bare,
            SOFT if place < effects["given"] else INK,
            below=mixed(min(1.0, math.sqrt(kl / 2)), WARM, PAGE),
            fork=at is not None and place == effects["given"] + at,
        )


def _sweep(sheet: Sheet, top: float, swept: Mapping[str, Any]) -> float:
    """What every strength buys and costs; returns where the curves end."""
    sheet.rule(top)
    base, *rest = swept["arms"]
    steered = [base, *(arm for arm in rest if not arm["control"])]
    controls = [base, *(arm for arm in rest if arm["control"])]
    left, width, height = 12, WIDTH - 24, 64
    last = steered[-1]["factor"] or 1.0
    plot = top + 26
    sheet.text(left, top + 14, "strength:", SMALL, SOFT)
    x = left + SMALL.length("strength:") + 8
    for text, color in (
        ("— the feature in the text", WARM),
        ("┄ its control", WARM),
        ("— KL", ACCENT),
    ):
        sheet.text(x, top + 14, text, SMALL, color)
        x += SMALL.length(text) + 10
    if "safe" in swept:
        safe = width * min(1.0, swept["safe"] / last)
        sheet.box(left, plot, safe, height, SAFE)
        told = f"shaded: KL within {number(swept['budget'])} nats a token"
        sheet.text(WIDTH - 12, top + 14, told, SMALL, SOFT, "rm")

    def curve(arms: Sequence[Mapping[str, Any]], name: str, most: float) -> list[Point]:
        return [
            (left + width * arm["factor"] / last, plot + 61 - 58 * max(0.0, arm[name]) / most)
            for arm in arms
            if arm[name] is not None
        ]

    most = {
        "concept": max((arm["concept"] or 0 for arm in swept["arms"]), default=0) or 1e-6,
        "kl": max((arm["kl"] or 0 for arm in steered), default=0) or 1e-6,
    }
    sheet.line(curve(steered, "kl", most["kl"]), ACCENT, 2)
    sheet.line(curve(controls, "concept", most["concept"]), WARM, 1, dashed=True)
    sheet.line(curve(steered, "concept", most["concept"]), WARM, 2)
    sheet.box(left, plot + height, width, 1, LINE)
    for arm in steered:
        at, far = left + width * arm["factor"] / last, arm is steered[-1]
        anchor = "lm" if arm is base else "rm" if far else "mm"
        tick = _strength(swept["request"]["edits"], arm["factor"])
        sheet.text(at, plot + height + 10, tick, SMALL, SOFT, anchor)
    return plot + height + 22


def _strength(edits: Sequence[Mapping[str, Any]], factor: float) -> str:
    """A factor as the strength that it makes, where one edit alone has one."""
    strong = [edit for edit in edits if edit.get("on", True) and edit["op"] not in NOTHING]
    if len(strong) == 1 and strong[0]["op"] not in NUMBER:
        return strength(float(f"{factor * strong[0]['strength']:.3g}"))
    return f"×{strength(factor)}"


def _also(sheet: Sheet, top: float, state: State) -> float:
    """Which other features rose or fell; returns where they end."""
    also = _measured(state).get("also") or ()
    if not also:
        return top
    sheet.rule(top)
    sheet.text(12, top + 16, "also moved", SMALL, SOFT)
    x = 12 + SMALL.length("also moved") + 8
    for one in also:
        label = SMALL.cut(printable(one["label"]), 130)
        by = change(one["after"] - one["before"])
        parts = [
            (str(one["feature"]), MONO_SMALL, SOFT),
            *([(label, SMALL, INK)] if label else []),
            (by, SMALL, WARM if one["after"] >= one["before"] else ACCENT),
        ]
        long = 12 + sum(font.length(text) for text, font, _ in parts) + 5 * (len(parts) - 1)
        if x + long > WIDTH - 12:
            break
        sheet.box(x, top + 6, long, 20, WELL, radius=5)
        inside = x + 6
        for text, font, color in parts:
            sheet.text(inside, top + 16, text, font, color)
            inside += font.length(text) + 5
        x += long + 6
    return top + 32


def _foot(sheet: Sheet, top: float, state: State) -> float:
    """What was really done to the model; returns where the picture ends."""
    run = state["run"]
    sheet.rule(top)
    middle = top + 15
    request = run["request"]
    old = request["prompt"] != state["prompt"] or any(
        request[name] != state[name] for name in SETTINGS
    )
    acting = any(edit.get("on", True) for edit in request["edits"])
    if old:
        sheet.text(12, middle, "written under other settings than those above", SMALL, SOFT)
    elif not acting:
        sheet.text(12, middle, "no edits: both texts are the model's own", SMALL, SOFT)
    else:
        given, generated = run["positions"]
        read = len(run["prompt"]) + run["calls"]["steps"]
        told = f"● applied at {given} + {generated} of {count(read, 'position')}"
        sheet.text(12, middle, told, SMALL, OK if given + generated else WARM)
        x = 12 + SMALL.length(told) + 14
        sheet.text(x, middle, f"‖Δ‖/‖h‖ {number(run['ratio'])}", SMALL, SOFT)
    sae = next((s["title"] or s["name"] for s in state["saes"] if s["name"] == state["sae"]), "")
    model = _measured(state).get("receipt", "").partition(", seed")[0]
    origin = printable(" · ".join(filter(None, (model, sae))))
    sheet.text(WIDTH - 12, middle, SMALL.cut(origin, 420), SMALL, SOFT, "rm")
    return top + 30
