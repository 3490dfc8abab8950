"""The quality report: what was measured, as one JSON document and as the table people read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sae_widgets.demo.quality import GROUPS, TARGETS
from sae_widgets.demo.trials import FADING

TRAINED = ("batchtopk-256", "batchtopk-512", "matryoshka-256", "matryoshka-512")
CONTROLS = {
    256: ("frozen-256", "untrained-256"),
    512: ("frozen-512", "untrained-512"),
}
NOTE = {
    "batchtopk": "BatchTopK",
    "matryoshka": "Matryoshka BatchTopK",
    "attention": "BatchTopK on attention output",
    "frozen": "*placebo:* random decoder, frozen",
    "untrained": "*placebo:* SAE of an untrained model",
}


def summary(
    results: Mapping[str, Any], models: Sequence[int], seeds: Sequence[int]
) -> dict[str, Any]:
    """Every measurement, and for each row of the tables its mean and spread over all seeds."""
    saes = results["saes"]
    names = list(dict.fromkeys(key.split("/")[1] for key in saes))
    rows = {name: [one for key, one in saes.items() if key.split("/")[1] == name] for name in names}
    dictionaries = {name: row(all_) for name, all_ in rows.items()}
    for kind in ("residual", "pca"):
        plain = [{"concepts": one[kind]} for one in results["plain"].values()]
        dictionaries[f"plain {kind}"] = row(plain)
    steered = list(dict.fromkeys(key.split("/")[1] for key in results["steering"]))
    steering = {
        name: steering_row([v for k, v in results["steering"].items() if k.split("/")[1] == name])
        for name in steered
    }
    return {
        "models": list(models),
        "seeds": list(seeds),
        "language": results["language"],
        "dictionaries": dictionaries,
        "stability": results["stability"],
        "steering": steering,
        "targets": targets(results, dictionaries, steering, models),
        "all": {
            "plain": {
                number: {kind: brief(found) for kind, found in one.items()}
                for number, one in results["plain"].items()
            },
            "saes": {
                # What every concept's best feature is, only of the weights that ship.
                key: one
                if key.startswith(f"{models[0]}/") and key.endswith(f"/{seeds[0]}")
                else {**one, "concepts": brief(one["concepts"])}
                for key, one in saes.items()
            },
            "steering": results["steering"],
        },
    }


def brief(concepts: Mapping[str, Any]) -> dict[str, Any]:
    """What a dictionary knows in all, without the list of each concept."""
    return {k: v for k, v in concepts.items() if k not in ("detectors", "absorptions")}


def row(measured: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Mean, spread, least and largest of each number over the seeds of one kind of dictionary."""
    found: dict[str, Any] = {"runs": len(measured)}
    for group in GROUPS:
        found[group] = spread([one["concepts"]["groups"][group] for one in measured])
        found[f"{group} told"] = spread([one["concepts"]["told"][group] for one in measured])
    for key in ("covered", "scored", "distinct", "assigned", "best", "split", "missed", "absorbed"):
        found[key] = spread([one["concepts"][key] for one in measured])
    for section in ("fidelity", "loss"):
        parts = [one[section] for one in measured if section in one]
        for key in parts[0] if parts else ():
            if key != "densities":  # a histogram
                found[key] = spread([part[key] for part in parts])
    return found


def steering_row(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The topics of all runs together, and how many of ten reach both thresholds in each run."""
    topics = [
        [one for concept, one in run["concepts"].items() if concept.startswith("topic:")]
        for run in runs
    ]
    flat = [one for run in topics for one in run]
    found = {
        key: spread([mean([one[key] for one in run]) for run in topics])
        for key in ("share", "parsed", "surprise", "strength")
    }
    if all("spill" in one for one in flat):
        found["spill"] = spread([mean([one["spill"] for one in run]) for run in topics])
    found["reached"] = [sum(reached(one) for one in run) for run in topics]  # type: ignore[assignment]
    found["runs"] = len(runs)  # type: ignore[assignment]
    return found


def reached(outcome: Mapping[str, Any]) -> bool:
    """Whether one feature steers as the target asks."""
    return bool(outcome["share"] >= 0.85 and outcome["parsed"] >= 0.85)


def targets(
    results: Mapping[str, Any],
    dictionaries: Mapping[str, Any],
    steering: Mapping[str, Any],
    models: Sequence[int],
) -> list[dict[str, Any]]:
    """What was promised before the first run, what came of it, and whether it was reached."""
    found: list[dict[str, Any]] = []

    def entry(what: str, value: Any, good: bool) -> None:
        found.append({"target": what, "found": value, "reached": bool(good)})

    gaps = [one["gap"] for one in results["language"].values()]
    parsed = [one["parsed"] for one in results["language"].values()]
    entry("language model within 0.05 nat of the generator's entropy", gaps, max(gaps) <= 0.05)
    entry("at least 97 % of sampled sentences parse", parsed, min(parsed) >= 0.97)
    for name in TRAINED:
        one = dictionaries[name]
        for group, least in TARGETS.items():
            value = one[group]["mean"]
            entry(f"{name}: MCC of {group} at least {least:.2f}", value, value >= least)
        entry(f"{name}: FVU at most 0.06", one["fvu"]["mean"], one["fvu"]["mean"] <= 0.06)
        entry(f"{name}: dead at most 2 %", one["dead"]["mean"], one["dead"]["mean"] <= 0.02)
        value = one["recovered"]["mean"]
        entry(f"{name}: loss recovered at least 0.99 (mean ablation)", value, value >= 0.99)
        controls = [*CONTROLS[int(name.split("-")[1])], "plain residual", "plain pca"]
        lost = [
            f"{group} against {control}"
            for group in GROUPS
            for control in controls
            if not above(results, models, name, control, group)
        ]
        entry(f"{name}: every seed above every control", lost or "all", not lost)
    for name in ("batchtopk-256", "matryoshka-256"):
        if name in steering:
            counts = steering[name]["reached"]
            entry(
                f"{name}: one feature steers 9 of 10 topics (share, parse at least .85)",
                counts,
                min(counts) >= 9,
            )
    for name, most in (("random", 0.2), ("frozen-256", 0.5)):
        value = steering[name]["share"]["max"]
        entry(f"steering with {name}: share at most {most}", value, value <= most)
    return found


def above(
    results: Mapping[str, Any], models: Sequence[int], name: str, control: str, group: str
) -> bool:
    """Whether every seed of a dictionary beats every seed of a control, in each language model."""
    for number in models:
        ours = of(results["saes"], number, name, group)
        if control.startswith("plain "):
            plain = (
                results["plain"][number]
                if number in results["plain"]
                else results["plain"][str(number)]
            )
            theirs = [plain[control.removeprefix("plain ")]["groups"][group]]
        else:
            # The SAEs of the untrained model serve as controls for all models.
            theirs = of(results["saes"], number, control, group) or of(
                results["saes"], models[0], control, group
            )
        if min(ours) <= max(theirs):
            return False
    return True


def of(saes: Mapping[str, Any], number: int, name: str, group: str) -> list[float]:
    """One group's MCC for every seed of a kind of dictionary on one language model."""
    return [
        one["concepts"]["groups"][group]
        for key, one in saes.items()
        if key.split("/")[:2] == [str(number), name]
    ]


def mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers) if numbers else math.nan


def spread(numbers: Sequence[float]) -> dict[str, float]:
    """Mean, standard deviation, least and largest."""
    centre = mean(numbers)
    more = len(numbers) - 1
    sd = math.sqrt(sum((n - centre) ** 2 for n in numbers) / more) if more > 0 else 0.0
    return {"mean": centre, "sd": sd, "min": min(numbers), "max": max(numbers)}


# Markdown


def markdown(found: Mapping[str, Any]) -> str:
    """The report as people read it."""
    count = len(found["models"])
    runs = f"{count} language model{'s' * (count > 1)}, {len(found['seeds'])} SAE seeds each"
    parts = [
        "# What the demo's features are worth\n",
        f"Means ± standard deviations over {runs}, on documents that no training saw, with the "
        "weights as they ship. Features, thresholds and strengths were chosen on other documents "
        "and prompts than they are scored on. Remake it with `python -m sae_widgets.demo.train`.\n",
        "## The language model\n",
        table(
            ("seed", "loss", "generator's entropy", "gap, nats a token", "sentences that parse"),
            [
                (
                    n,
                    f"{v['loss']:.3f}",
                    f"{v['floor']:.3f}",
                    f"{v['gap']:.3f}",
                    f"{v['parsed']:.1%}",
                )
                for n, v in found["language"].items()
            ],
        ),
        "## Does a single feature know the concept?\n",
        "Matthews' correlation of the best single feature with the truth about a sentence. "
        "*Covered*: concepts with 0.8 or better.\n",
        table(
            ("dictionary", *GROUPS, "covered", "distinct", "split", "absorbed"),
            [
                (
                    called(name),
                    *(pm(one[group]) for group in GROUPS),
                    f"{one['covered']['mean']:.0f} of {one['scored']['mean']:.0f}",
                    f"{one['distinct']['mean']:.0f}",
                    f"{one['split']['mean']:.1f}",
                    f"{one['absorbed']['mean']:.2f}",
                )
                for name, one in found["dictionaries"].items()
            ],
        ),
        "*Distinct*: different features among the best ones. *Split*: features with at least half "
        "of the best one's correlation. *Absorbed*: share of a special case's tokens (a whale, "
        "red) on which the general feature (animal, colour) is silent and the special one fires.\n",
        "## Does it stand in for the activations?\n",
        "These numbers alone say little about meaning: the SAE of a model that never saw a text "
        "also explains most of its variance at the same L0, and knows no topic.\n",
        table(
            ("dictionary", "L0", "FVU", "dead", "loss recovered", "extra loss, nats", "alike"),
            [
                (
                    called(name),
                    f"{one['l0']['mean']:.1f}",
                    pm(one["fvu"], 3),
                    f"{one['dead']['mean']:.1%}",
                    pm(one["recovered"], 3) if "recovered" in one else "–",
                    pm(one["cost"], 3) if "cost" in one else "–",
                    f"{found['stability'][name]:.2f}" if name in found["stability"] else "–",
                )
                for name, one in found["dictionaries"].items()
                if "fvu" in one
            ],
        ),
        "*Loss recovered* is against replacing every activation by the mean. *Alike*: mean largest "
        "cosine between the directions of two seeds.\n",
        "## Does one feature steer?\n",
        "One direction added at every token that is written, half as strongly after every "
        f"{FADING.half:g}. "
        "*Share*: of topic-exclusive words, the target's. "
        "*Parse*: of complete sentences. *Surprise*: extra nats a token under the unsteered model. "
        "*Spill*: largest change of another axis's share. *Topics of 10*: in each run, how many "
        "reach a share of .85 with .85 parsing. The feature is the one that steered best, while "
        "choosing, of the three that know the topic best. Of the strengths that still parsed to "
        ".88, its own is the one at which the smaller of share and parsing was largest.\n",
        table(
            (
                "direction",
                "share",
                "parse",
                "surprise",
                "spill",
                "norms at first",
                "topics of 10",
            ),
            [
                (
                    called(name),
                    pm(one["share"]),
                    pm(one["parsed"]),
                    f"{one['surprise']['mean']:.2f}",
                    f"{one['spill']['mean']:.2f}" if "spill" in one else "–",
                    f"{one['strength']['mean']:.2f}",
                    ", ".join(map(str, one["reached"])),
                )
                for name, one in found["steering"].items()
            ],
        ),
        "A tie with the difference of means is expected: labels were plentiful here. Mixing many "
        "features would let any dictionary imitate it, the placebo too; one feature does not.\n",
        compositions(found["all"]["steering"]),
        "## Targets, fixed before the first run\n",
        table(
            ("target", "found", "reached"),
            [
                (one["target"], number(one["found"]), "yes" if one["reached"] else "**no**")
                for one in found["targets"]
            ],
        ),
    ]
    return "\n".join(part for part in parts if part)


def compositions(steering: Mapping[str, Any]) -> str:
    """Three features at once."""
    rows = [
        (
            called(key.split("/")[1]) + f", model {key.split('/')[0]}",
            name,
            *(f"{one['shares'][part]:.2f}" for part in name.split(" + ")),
            f"{one['parsed']:.2f}",
        )
        for key, run in steering.items()
        for name, one in run.get("composition", {}).items()
    ]
    if not rows:
        return ""
    head = ("dictionary", "topic + register + mood", "topic", "register", "mood", "parse")
    return "### Three at once\n\n" + table(head, rows)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def pm(one: Mapping[str, float], digits: int = 2) -> str:
    """Mean and spread."""
    return f"{one['mean']:.{digits}f} ± {one['sd']:.{digits}f}"


def called(name: str) -> str:
    """A dictionary's or direction's name, for people."""
    plain = {
        "plain residual": "residual dimensions, ±",
        "plain pca": "principal components, ±",
        "diffmean": "difference of means (no SAE)",
        "random": "random direction, same strengths",
    }
    if name in plain:
        return plain[name]
    kind, _, width = name.partition("-")
    return f"{NOTE.get(kind, kind)}, {width}"


def number(value: Any) -> str:
    """A found value, briefly."""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return ", ".join(map(number, value))
    return str(value)
