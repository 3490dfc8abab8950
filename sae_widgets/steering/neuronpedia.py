"""Vectors and features of Neuronpedia: by their address there, or from a record that was saved."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from sae_widgets.steering.edits import Add
from sae_widgets.steering.terms import SAEs, by_name

HOST = "https://www.neuronpedia.org"

STRENGTH = 10.0
"""What Neuronpedia steers with where a record says nothing."""

LIMIT = 32 * 2**20
"""Bytes of an answer: a record with all its examples has a few million."""

PATIENCE = 20.0
"""Seconds to wait for the host to say something."""


class Imported(NamedTuple):
    """An edit, and what it is called on Neuronpedia (empty where nobody has named it)."""

    label: str
    edit: Add


def neuronpedia(
    source: str | Path | Mapping[str, Any], sae: SAEs = None, *, host: str = HOST
) -> Imported:
    """The push that Neuronpedia has at `source`, as strong as it is there.

    source: what is looked up on the network, a feature's identifier ("gpt2-small/6-res-jb/650") or
    the address of its page; or what is not, a record of Neuronpedia's API or the path of a .json
    file that holds one.

    A record that has a vector gives that, at the hook that it names. Neuronpedia keeps none for the
    features of SAEs: these are taken from the SAE, which is to be among `sae`, with a provenance
    that names it ({"neuronpedia": "gpt2-small/6-res-jb"}, which SAELens's folders say themselves).
    """
    record = _record(source, host)
    missing = [name for name in ("modelId", "layer", "index") if name not in record]
    if missing:
        raise ValueError(
            f"a record of Neuronpedia names its modelId, layer and index; {missing[0]} is missing. "
            f"It has {sorted(record)[:8]}"
        )
    home, index = f"{record['modelId']}/{record['layer']}", str(record["index"])
    given = record.get("vectorDefaultSteerStrength")
    strength = STRENGTH if given is None else given
    for name, each in by_name(sae).items():
        if each.provenance.get("neuronpedia") == home:
            each.check_feature(int(index))
            return Imported(_label(record), Add(int(index), strength, unit="raw", sae=name))
    vector, hook = record.get("vector"), record.get("hookName")
    if not vector:
        raise ValueError(
            f"{home}/{index} has no vector: Neuronpedia keeps none for the features of SAEs. Load "
            f"the SAE, say sae.provenance['neuronpedia'] = {home!r}, and pass it (or give it to "
            f"the session): it is feature {index} of that"
        )
    if not hook or not isinstance(hook, str):
        raise ValueError(
            f"{home}/{index} does not say at which hook its vector belongs (hookName); make the "
            "edit yourself: Add(record['vector'], strength, unit='raw', hook=...)"
        )
    if not isinstance(vector, list) or not all(type(entry) in (int, float) for entry in vector):
        raise ValueError(f"the vector of {home}/{index} is no list of numbers")
    return Imported(_label(record), Add(vector, strength, unit="raw", hook=hook))


def _label(record: Mapping[str, Any]) -> str:
    """The vector's own, or what the feature is first explained as."""
    if record.get("vectorLabel"):
        return str(record["vectorLabel"])
    for explanation in record.get("explanations") or ():
        if isinstance(explanation, Mapping) and explanation.get("description"):
            return str(explanation["description"])
    return ""


# Getting a record


def _record(source: str | Path | Mapping[str, Any], host: str) -> Mapping[str, Any]:
    if isinstance(source, Mapping):
        return source
    if isinstance(source, Path) or source.endswith(".json"):
        text, told = Path(source).read_bytes(), str(source)
    else:
        told = f"{host}/api/feature/{_identifier(source)}"
        text = _fetched(told, host)
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{told} holds no JSON: {error}") from error
    if not isinstance(record, Mapping):
        raise ValueError(f"{told} holds no record of one feature, but a {type(record).__name__}")
    return record


def _identifier(source: str) -> str:
    """model/source/index, from itself or from the address of a page or of the API."""
    place = r"(?:https://(?:www\.)?neuronpedia\.org/(?:api/feature/)?)?"
    found = re.fullmatch(place + r"(\w[\w.-]*/\w[\w.-]*/[\w-]+)/?(?:\?.*)?", source)
    if found is None:
        raise ValueError(
            'a feature of Neuronpedia is named "gpt2-small/6-res-jb/650" or by the address of its '
            f"page; got {source!r}"
        )
    return found[1]


def _fetched(address: str, host: str) -> bytes:
    save = "Where there is a network, save it as a .json file, and pass its path"
    request = Request(address, headers={"User-Agent": "sae_widgets"})
    try:
        with urlopen(request, timeout=PATIENCE) as answer:
            data: bytes = answer.read(LIMIT + 1)
            came_from: str = answer.url
    except HTTPError as error:
        error.close()
        if error.code == 404:
            raise LookupError(f"Neuronpedia has nothing at {address}") from error
        raise ConnectionError(
            f"Neuronpedia answers {error.code} {error.reason} to {address}. {save}"
        ) from error
    except OSError as error:
        raise ConnectionError(f"{address} cannot be reached: {error}. {save}") from error
    if not came_from.startswith(f"{host}/"):
        raise ConnectionError(f"{address} leads elsewhere, to {came_from}; that is not trusted")
    if len(data) > LIMIT:
        raise ConnectionError(f"{address} is larger than {LIMIT / 2**20:g} MB, which no record is")
    return data
