"""An SAE in a repository of the Hugging Face hub: only its own files are downloaded."""

from __future__ import annotations

from pathlib import Path

from sae_widgets.formats.files import candidates, finished, is_weights, which


def fetch(repo: str, inside: str) -> Path:
    """Where the SAE `inside` a repository (a folder or a file; "": at its root) lies on this disk.

    What is in the local cache already is not downloaded again, and is all there is offline.
    """
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    try:
        names = HfApi().list_repo_files(repo)
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"the Hugging Face hub has no repository {repo!r} that you may read. Is the name right "
            "(owner/name)? For one that is private or asks for a licence: `hf auth login`"
        ) from error
    except HfHubHTTPError as error:
        raise OSError(f"the Hugging Face hub refuses to list {repo!r}: {error}") from error
    except Exception as error:
        # No connection, which every version of the library reports by another class.
        return _cached(repo, inside, error)
    wanted = _wanted(repo, inside, names)
    try:
        paths = [Path(hf_hub_download(repo, name)) for name in wanted]
    except Exception as error:
        raise OSError(f"{wanted} of {repo!r} could not be downloaded: {error}") from error
    root = paths[0]
    for _ in Path(wanted[0]).parts:
        root = root.parent
    return root / inside


def _cached(repo: str, inside: str, error: Exception) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    why = f"the hub cannot be reached ({type(error).__name__}: {str(error).splitlines()[0]})"
    try:
        path = Path(snapshot_download(repo, local_files_only=True)) / inside
    except LocalEntryNotFoundError as missing:
        raise ConnectionError(
            f"{repo!r} is no local folder, not in the local cache of Hugging Face, and {why}. "
            "Go online once, or pass the path of a folder"
        ) from missing
    if not path.exists():
        raise ConnectionError(
            f"of {repo!r} the local cache has no {inside!r}, and {why}. Go online once to get it"
        )
    return path


def _wanted(repo: str, inside: str, names: list[str]) -> list[str]:
    """The files of one SAE, its weights first."""
    if inside in names:
        folder, weights = str(Path(inside).parent), [inside]
    else:
        folder = inside or "."
        here = [name for name in names if str(Path(name).parent) == folder]
        weights = candidates([Path(name).name for name in here])
        below = f"{folder}/checkpoints".removeprefix("./")
        if not weights:
            states = [Path(name).name for name in names if str(Path(name).parent) == below]
            weights = [f"checkpoints/{name}" for name in finished(states)][:1]
        weights = [f"{folder}/{name}".removeprefix("./") for name in weights]
    if len(weights) != 1:
        raise _unclear(repo, inside, weights, names)
    beside = [
        name
        for name in names
        if str(Path(name).parent) == folder
        and (name.endswith(".json") or Path(name).name == "stats.safetensors")
    ]
    return [*weights, *beside]


def _unclear(repo: str, inside: str, weights: list[str], names: list[str]) -> Exception:
    """What to say when not just one SAE is there."""
    prefix = f"{inside}/" if inside else ""
    below = [name for name in names if name.startswith(prefix) and is_weights(Path(name).name)]
    folders = sorted({str(Path(name).parent) for name in below})
    choices = weights or folders
    if choices:
        return ValueError(which(repo, choices))
    return FileNotFoundError(
        f"the repository {repo!r} has no SAE {inside!r}. It holds: {', '.join(sorted(names)[:12])}"
    )
