"""The command line, run as a user runs it."""

import json
import webbrowser

import pytest
from typer.testing import CliRunner

from sae_widgets import cli


@pytest.fixture
def run():
    runner = CliRunner()
    return lambda *arguments: runner.invoke(cli.app, list(arguments))


def test_help_explains_every_command(run):
    result = run("--help")
    assert result.exit_code == 0
    assert "demo" in result.output
    assert "steer" in result.output


def test_demo_copies_the_notebooks_to_the_folder_named(run, tmp_path):
    result = run("demo", str(tmp_path / "mine"), "--no-open")
    assert result.exit_code == 0, result.output
    notebook = json.loads((tmp_path / "mine" / "quickstart.ipynb").read_text())
    assert notebook["nbformat"] == 4


def test_demo_keeps_a_notebook_that_is_already_there(run, tmp_path):
    (tmp_path / "quickstart.ipynb").write_text("mine")
    result = run("demo", str(tmp_path), "--no-open")
    assert result.exit_code == 0
    assert "kept" in result.output
    assert (tmp_path / "quickstart.ipynb").read_text() == "mine"


def test_demo_says_so_when_the_folder_cannot_be_made(run, tmp_path):
    (tmp_path / "file").write_text("")
    result = run("demo", str(tmp_path / "file" / "inside"), "--no-open")
    assert result.exit_code == 2
    assert "Name another folder" in result.output


class Ended:
    """A JupyterLab that Ctrl-C reached once while it ran, and that then ended by itself."""

    interrupted = False

    def wait(self) -> int:
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return 0


def test_demo_opens_jupyterlab_on_the_quickstart_of_the_folder(run, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(cli.subprocess, "Popen", lambda command: calls.append(command) or Ended())
    monkeypatch.setattr(webbrowser, "get", lambda: object())
    monkeypatch.setattr(cli, "is_root", lambda: False)
    assert run("demo", str(tmp_path)).exit_code == 0
    assert run("demo", str(tmp_path), "--lab=--port=9000", "--lab=--ip=::1").exit_code == 0
    plain = ["-m", "jupyterlab", str(tmp_path / "quickstart.ipynb")]
    assert [command[1:] for command in calls] == [plain, [*plain, "--port=9000", "--ip=::1"]]


def test_root_gets_the_option_that_jupyterlab_asks_root_for(run, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(cli.subprocess, "Popen", lambda command: calls.append(command) or Ended())
    monkeypatch.setattr(webbrowser, "get", lambda: object())
    monkeypatch.setattr(cli, "is_root", lambda: True)
    result = run("demo", str(tmp_path))
    assert calls[0][-1] == "--allow-root"
    assert "You are root" in result.output


def test_demo_prints_the_address_where_there_is_no_browser(run, tmp_path, monkeypatch):
    def none() -> object:
        raise webbrowser.Error("could not locate runnable browser")

    calls = []
    monkeypatch.setattr(cli.subprocess, "Popen", lambda command: calls.append(command) or Ended())
    monkeypatch.setattr(webbrowser, "get", none)
    result = run("demo", str(tmp_path))
    assert "No browser was found" in result.output
    assert calls[0][-1] == "--no-browser"


def test_demo_says_how_to_install_jupyterlab_where_it_is_missing(run, tmp_path, monkeypatch):
    monkeypatch.setattr(cli.util, "find_spec", lambda _: None)
    result = run("demo", str(tmp_path))
    assert result.exit_code == 2
    assert "sae-widgets[lab]" in result.output
    assert list(tmp_path.iterdir()) == []


# clean


STATE = "application/vnd.jupyter.widget-state+json"


def colab(path):
    """A notebook as Colab stores it, with nothing that shows its widget."""
    widgets = {STATE: {"a": {"model_name": "M", "state": {}}}}
    record = {"cells": [], "metadata": {"widgets": widgets}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(record))
    return path


def test_clean_says_what_it_did_to_each_notebook_and_how_large_it_is_now(run, tmp_path):
    path = colab(tmp_path / "a.ipynb")
    before = path.stat().st_size
    result = run("clean", str(path))
    assert result.exit_code == 0, result.output
    after = json.loads(path.read_text())["metadata"]["widgets"]
    assert after == {STATE: {"state": {}, "version_major": 2, "version_minor": 0}}
    assert result.output == (
        f"cleaned  {path}: put 1 models under the missing 'state', dropped 1 of 1 models that "
        f"nothing shows ({before} → {path.stat().st_size} bytes)\n"
    )
    again = run("clean", str(path))
    assert again.output == f"fine     {path}: nothing to do ({path.stat().st_size} bytes)\n"


def test_clean_only_reports_with_check_and_fails_where_something_would_change(run, tmp_path):
    path = colab(tmp_path / "a.ipynb")
    before = path.read_bytes()
    path.chmod(0o444)
    result = run("clean", "--check", str(path))
    assert result.exit_code == 1
    assert result.output.startswith(f"unclean  {path}: put 1 models")
    assert path.read_bytes() == before
    path.chmod(0o644)
    run("clean", str(path))
    assert run("clean", "--check", str(path)).exit_code == 0


def test_clean_says_what_is_wrong_with_a_file_and_goes_on_with_the_next(run, tmp_path):
    (tmp_path / "text.ipynb").write_text("hello")
    colab(tmp_path / "protected.ipynb").chmod(0o444)
    names = ["missing.ipynb", "", "text.ipynb", "protected.ipynb"]
    wrong = [str(tmp_path / name) for name in names]
    result = run("clean", *wrong, str(colab(tmp_path / "good.ipynb")))
    assert result.exit_code == 2
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines] == ["failed"] * 4 + ["cleaned"]
    for line, reason in zip(
        lines,
        ["No such file", "a folder; name the notebooks", "no JSON", "is write-protected"],
        strict=False,
    ):
        assert reason in line
