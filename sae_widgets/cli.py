"""The `sae-widgets` command."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from sae_widgets.files import put
from sae_widgets.share.clean import cleaned, rewrite

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "See which sparse-autoencoder features a language model uses on your text, "
        "and steer it with them, in a notebook cell."
    ),
)

PACKAGE = Path(__file__).parent
# A wheel carries the notebooks inside the package; a clone keeps them beside it.
NOTEBOOKS = (PACKAGE / "notebooks", PACKAGE.parent / "notebooks")
FIRST = "quickstart.ipynb"


def show_version(wanted: bool) -> bool:
    if wanted:
        typer.echo(f"sae-widgets {metadata.version('sae-widgets')}")
        raise typer.Exit
    return wanted


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    folder: Annotated[
        Path, typer.Argument(help="Where to put the notebooks; made if it is not there.")
    ] = Path("sae-widgets-demo"),
    open_lab: Annotated[
        bool, typer.Option("--open/--no-open", help="Open JupyterLab on the quickstart.")
    ] = True,
    browser: Annotated[
        bool,
        typer.Option(
            "--browser/--no-browser",
            help="Let JupyterLab open a browser, or only print the address.",
        ),
    ] = True,
    lab: Annotated[
        list[str] | None,
        typer.Option(
            metavar="OPTION",
            help="An option for JupyterLab itself, as in --lab=--port=9000; as many as you like.",
        ),
    ] = None,
) -> None:
    """Copy the notebooks to FOLDER and open JupyterLab there.

    A notebook that is already in FOLDER is yours and stays as it is.
    """
    if open_lab and util.find_spec("jupyterlab") is None:
        stop(
            "JupyterLab is not installed here. Install it with "
            "`pip install 'sae-widgets[lab]'`, or copy the notebooks alone with --no-open."
        )
    copy_notebooks(folder)
    if open_lab:
        raise typer.Exit(run_lab(folder / FIRST, lab or [], browser=browser))


@app.command()
def clean(
    notebooks: Annotated[list[Path], typer.Argument(help="Notebooks; as many as you like.")],
    check: Annotated[
        bool,
        typer.Option("--check", help="Only report; exit with 1 where something would change."),
    ] = False,
) -> None:
    """Mend the stored widget state of notebooks, and drop what nothing in them shows.

    GitHub shows no notebook whose widget metadata lacks its 'state', as Colab writes it. Cells and
    outputs stay as they are, byte for byte; any library's widgets will do.
    """
    changed = failed = False
    for path in notebooks:
        try:
            found = cleaned(before := read_file(path))
            if found.done and not check:
                rewrite(path, found.data)
        except (OSError, ValueError) as error:
            failed = True
            reason = error.strerror if isinstance(error, OSError) else error
            typer.secho(f"failed   {path}: {reason}", err=True, fg="red")
            continue
        size = f"{len(before):,} bytes"
        if found.done:
            changed = True
            size = f"{len(before):,} → {len(found.data):,} bytes"
        word = "fine" if not found.done else "unclean" if check else "cleaned"
        typer.echo(f"{word:8} {path}: {', '.join(found.done) or 'nothing to do'} ({size})")
    raise typer.Exit(2 if failed else 1 if changed and check else 0)


@app.command()
def train(
    model: Annotated[
        str, typer.Argument(help="A folder or name of a Hugging Face model, or 'demo'.")
    ],
    texts: Annotated[
        str,
        typer.Argument(
            help="A text file, a .jsonl file, or a folder or name of a Hugging Face dataset."
        ),
    ],
    hook: Annotated[
        str, typer.Argument(help="Where the SAE reads, such as blocks.2.hook_resid_post.")
    ],
    folder: Annotated[
        Path, typer.Option(help="Where checkpoints and the SAE are kept.", show_default=False)
    ],
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in FOLDER, if there is one.")
    ] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Throw away the run in FOLDER, if there is one.")
    ] = False,
    column: Annotated[str, typer.Option(help="Where records have their text.")] = "text",
    subset: Annotated[str | None, typer.Option(help="Which subset of a dataset.")] = None,
    split: Annotated[str, typer.Option(help="Which split of a dataset.")] = "train",
    objective: Annotated[
        str | None,
        typer.Option(
            metavar="CALL",
            help="As in Python: 'Matryoshka(k=16)', 'BatchTopK(k=16)', 'TopK(k=16)', 'L1(l1=5)', "
            "'JumpReLU(l0=16)', 'TanhJumpReLU(sparsity=1)', 'Gated(l1=5)'.",
        ),
    ] = None,
    d_sae: Annotated[int | None, typer.Option(help="How many features.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of training.")] = None,
    batch: Annotated[
        int | None, typer.Option(help="Activations in a step, of all processes together.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the run it rises over.")] = None,
    decay: Annotated[float | None, typer.Option(help="Share of the run it falls over.")] = None,
    clip: Annotated[float | None, typer.Option(help="The longest gradient.")] = None,
    beta1: Annotated[float | None, typer.Option(help="Adam's memory of gradients.")] = None,
    patience: Annotated[
        float | None, typer.Option(help="Share of the run after which silence is death.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="float32 or bfloat16.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens read at once, at most.")] = None,
    buffer: Annotated[int | None, typer.Option(help="How many activations are mixed.")] = None,
    shards: Annotated[int | None, typer.Option(help="Into how many parts texts are dealt.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all that is random.")] = None,
    hook_out: Annotated[
        str | None, typer.Option(help="Where a transcoder writes what it reads at HOOK.")
    ] = None,
    skip: Annotated[
        bool, typer.Option("--skip", help="Give a transcoder a linear map beside its features.")
    ] = False,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="A placebo: keep the decoder random.")
    ] = False,
    name: Annotated[str | None, typer.Option(help="That of the SAE; else its hook.")] = None,
    save_every: Annotated[
        int | None, typer.Option(help="Steps between checkpoints; else a tenth of the run.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Train an SAE on what MODEL makes of TEXTS at HOOK, and keep it in FOLDER.

    What is not said is as in `sw.Recipe`. On several processes, of one machine or many, the same
    command follows `torchrun --nproc-per-node N -m sae_widgets`.
    """
    if resume and replace:
        stop("--resume goes on with a run and --replace throws it away; choose one of them.")
    told: dict[str, Any] = {
        "d_sae": d_sae,
        "steps": steps,
        "batch": batch,
        "lr": lr,
        "warmup": warmup,
        "decay": decay,
        "clip": clip,
        "beta1": beta1,
        "patience": patience,
        "precision": precision,
        "context": context,
        "buffer": buffer,
        "shards": shards,
        "seed": seed,
        "hook_out": hook_out,
        "skip": skip,
        "frozen": frozen,
        "name": name,
    }
    # These take seconds to import, which other commands need not wait for.
    from sae_widgets.training import Recipe, open_texts, read_objective
    from sae_widgets.training import folder as kept
    from sae_widgets.training import train as train_on
    from sae_widgets.training.corpus import check_texts

    try:
        recipe = Recipe(
            hook,
            objective=None if objective is None else read_objective(objective),
            **{name: value for name, value in told.items() if value is not None},
        )
        existing: Literal["resume", "replace", "refuse"] = (
            "resume" if resume else "replace" if replace else "refuse"
        )
        # Before a model is read.
        kept.check(folder, existing)
        read = open_texts(texts, subset=subset, split=split)
        check_texts(read, column)
        sae = train_on(
            open_model(model, quiet=quiet),
            read,
            recipe,
            column=column,
            folder=folder,
            existing=existing,
            save_every=save_every,
            progress=not quiet,
        )
    except (ArithmeticError, OSError, RuntimeError, TypeError, ValueError) as error:
        stop(" ".join(str(error).split()))
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"trained {folder / sae.name}: {sae.d_sae} features at {sae.hook}")


def open_model(address: str, *, quiet: bool) -> Any:
    """The model that is named, on the accelerator of this process if there is one."""
    import torch

    from sae_widgets.demo.load import load_demo
    from sae_widgets.model import load_model, without_bars

    device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    if address == "demo":
        model: Any = load_demo().model
        return model.to(device)
    try:
        with without_bars() if quiet else nullcontext():
            return load_model(address, device=device)
    except OSError as error:
        raise ValueError(f"the model {address!r} cannot be read: {error}") from error


def read_file(path: Path) -> bytes:
    if path.is_dir():
        raise ValueError("it is a folder; name the notebooks in it")
    return path.read_bytes()


def copy_notebooks(folder: Path) -> None:
    """Copy every notebook that `folder` does not have yet, and say what was done."""
    source = next((place for place in NOTEBOOKS if (place / FIRST).is_file()), None)
    if source is None:
        stop(
            "the notebooks are missing from this installation "
            f"(looked in {', '.join(map(str, NOTEBOOKS))}). Reinstall sae-widgets."
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for notebook in sorted(source.glob("*.ipynb")):
            target = folder / notebook.name
            if target.exists():
                typer.echo(f"kept    {target} (yours; delete it to get a fresh copy)")
                continue
            put(target, notebook.read_bytes())
            typer.echo(f"copied  {target}")
    except OSError as error:
        stop(f"cannot write to {folder}: {error.strerror}. Name another folder.")


def run_lab(notebook: Path, options: list[str], *, browser: bool) -> int:
    """Run JupyterLab on `notebook` until it is stopped; its exit status."""
    # The address that JupyterLab prints is of its launcher otherwise, whatever it opens itself.
    address = f"--LabApp.default_url=/lab/tree/{notebook.name}"
    command = [sys.executable, "-m", "jupyterlab", str(notebook.resolve()), address, *options]
    if is_root() and "--allow-root" not in options:
        # Containers are often used as root, and there Jupyter would only say that it will not.
        typer.echo("You are root, so JupyterLab is started with --allow-root.")
        command.append("--allow-root")
    if not browser:
        command.append("--no-browser")
    elif not has_browser():
        typer.echo(
            "No browser was found on this machine: open the address that JupyterLab prints below "
            "in a browser that can reach it."
        )
        command.append("--no-browser")
    typer.echo("Starting JupyterLab; stop it with Ctrl-C.")
    lab = subprocess.Popen(command)
    while True:
        try:
            return lab.wait()
        except KeyboardInterrupt:
            continue  # it has heard Ctrl-C as well, and asks whether it is meant


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def has_browser() -> bool:
    import webbrowser

    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True


def stop(message: str) -> NoReturn:
    typer.secho(message, err=True, fg="red")
    raise typer.Exit(2)
