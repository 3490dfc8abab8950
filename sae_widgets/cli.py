"""The `sae-widgets` command."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib import metadata, util
from pathlib import Path
from typing import Annotated, NoReturn

import typer

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
            beside = target.with_suffix(".part")
            shutil.copyfile(notebook, beside)
            beside.replace(target)
            typer.echo(f"copied  {target}")
    except OSError as error:
        stop(f"cannot write to {folder}: {error.strerror}. Name another folder.")


def run_lab(notebook: Path, options: list[str], *, browser: bool) -> int:
    """Run JupyterLab on `notebook` until it is stopped; its exit status."""
    command = [sys.executable, "-m", "jupyterlab", str(notebook.resolve()), *options]
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
