"""What shared widgets were made with, and whether the same is here."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sae_widgets.demo.load import load_demo
from sae_widgets.model import Model, identity, load_model
from sae_widgets.sae import SAE
from sae_widgets.session import Labels, Session
from sae_widgets.share.folder import refusal
from sae_widgets.steering.generation import identity_of_sae
from sae_widgets.widgets.panel import field
from sae_widgets.wire import versions

MODEL_FACTS, SAE_FACTS = ("weights", "dtype"), ("hook", "width", "activation", "weights")
"""In which a model and an SAE must be what they were. A model may have the name of its folder."""

MOST = 12
"""So many differences are told at most."""

Traits = Mapping[str, Any]


def check_about(traits: Traits) -> dict[str, Any]:
    """What a widget says it was made with, or a ValueError that says what is wrong with that."""
    if not traits.get("about"):
        raise ValueError(
            "it does not say what it was made with, as widgets do today: run its notebook again"
        )
    about = field(traits, "about", dict)
    model, known = field(about, "model", dict), field(about, "versions", dict)
    saes = field(about, "saes", dict)
    if not saes:
        raise ValueError("it names no SAE that it was made with")
    wanted = [(model, fact) for fact in ("name", *MODEL_FACTS)]
    wanted += [(known, package) for package in known]
    wanted += [(field(saes, name, dict), fact) for name in saes for fact in SAE_FACTS]
    for record, fact in wanted:
        field(record, fact, str)
    return {"model": model, "saes": saes, "versions": known}


@dataclass(frozen=True)
class Source:
    """What there is here to make widgets with that were made with what `about` says."""

    about: Traits
    model: Model | None
    saes: Sequence[SAE]
    demo: bool = False

    def session(self, labels: Labels) -> Session:
        """A new session, once there are no differences. The demo brings its own labels."""
        if self.demo:
            return load_demo()
        assert self.model is not None  # which is a difference
        saes = {sae.name: sae for sae in self.saes}
        first, *others = [saes[name] for name in dict.fromkeys((*self.about["saes"], *saes))]
        # The weights say more than a try on some text could.
        return Session(self.model, first, saes=others, labels=labels, sample=None)


def find_source(about: Traits, model: Model | None, saes: Sequence[SAE]) -> Source:
    """The model and the SAEs that were given, else those that are here without being given."""
    if model is not None:
        return Source(about, model, saes)
    demo, wanted = load_demo(), about["model"]
    known = identity(demo.model)
    if known["weights"] != wanted["weights"] and known["name"] != wanted["name"]:
        return Source(about, in_folder(wanted["name"]), saes)
    if saes:
        return Source(about, demo.model, saes)
    return Source(about, demo.model, list(demo.saes.values()), demo=True)


def in_folder(name: str) -> Model | None:
    """The model in the local folder of this name; None if there is none that is data alone.

    The name comes from a file that somebody shared, and the folder may have come with it.
    """
    if refusal(name) is not None:
        return None
    found: Model = load_model(Path(name))
    return found


def refuse_differences(path: Path, sources: Iterable[Source]) -> None:
    """Raise if anything is not as it was, and say all of it."""
    found = [said for source in sources for said in differences(source)]
    if not found:
        return
    told = list(dict.fromkeys(found))
    if len(told) > MOST:
        told[MOST:] = [f"and {len(told) - MOST} more"]
    changed = dict.fromkeys(said for source in sources for said in _other_versions(source))
    why = f"\nIt may be the versions: {'; '.join(list(changed)[:MOST])}." if changed else ""
    lines = "".join(f"\n- {said}" for said in told)
    raise ValueError(f"{path.name!r} cannot be made live here:{lines}{why}")


def differences(source: Source) -> Iterator[str]:
    """What is missing, or is not what the widgets were made with, in words."""
    about = source.about
    wanted, model = about["model"], f"model {short(about['model']['name'])}"
    if source.model is None:
        yield (
            f"{model} (weights {short(wanted['weights'])}, {short(wanted['dtype'])}) is not here: "
            "pass it as model=. A local folder of this name would do, but "
            f"{refusal(wanted['name'])}"
        )
    else:
        yield from _compared(model, wanted, identity(source.model), MODEL_FACTS)
    here = {sae.name: identity_of_sae(sae) for sae in source.saes}
    for name, facts in about["saes"].items():
        if name in here:
            yield from _compared(f"SAE {short(name)}", facts, here[name], SAE_FACTS)
            continue
        where = "pass it in sae="
        for other, known in here.items():
            if all(known[fact] == facts[fact] for fact in SAE_FACTS):
                where = f"it is called {other!r} here; set its name"
        yield (
            f"SAE {short(name)} (weights {short(facts['weights'])}, {short(facts['width'])} "
            f"features, hook {short(facts['hook'])}) is not here: {where}"
        )
    then, now = about["versions"].get("sae-widgets", ""), versions()["sae-widgets"]
    if _series(then) > _series(now):
        yield f"sae-widgets {short(then)} wrote it, and {now} here may not know all that it did"


def _compared(what: str, then: Traits, now: Traits, facts: Iterable[str]) -> Iterator[str]:
    for fact in facts:
        if then[fact] != now[fact]:
            yield f"{what}: its {fact} was {short(then[fact])} and is {now[fact]!r} here"


def _other_versions(source: Source) -> Iterator[str]:
    now = versions()
    for name, then in source.about["versions"].items():
        if name in now and now[name] != then:
            yield f"{name} was {short(then)} and is {now[name]!r} here"


def _series(version: str) -> list[int]:
    """The first two numbers of a version: where they are the same, widgets are stored alike."""
    return [int(number) for number in re.findall(r"\d{1,6}", version)[:2]]


def short(text: str) -> str:
    """A text of a file, as it can be shown."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
