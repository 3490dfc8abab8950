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
