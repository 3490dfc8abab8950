"""The command line, run as a user runs it."""

import json
import os
import re
import signal
import subprocess
import sys
import webbrowser

import pytest
import tiny
from typer.testing import CliRunner

from sae_widgets import cli, load_sae


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
    address = "--LabApp.default_url=/lab/tree/quickstart.ipynb"
    plain = ["-m", "jupyterlab", str(tmp_path / "quickstart.ipynb"), address]
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


def test_the_address_that_is_printed_opens_the_quickstart(tmp_path):
    pytest.importorskip("jupyterlab")
    told = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    command = [sys.executable, "-m", "sae_widgets", "demo", str(tmp_path), "--no-browser"]
    here = {**os.environ, "JUPYTER_CONFIG_DIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    lab = subprocess.Popen([*command, "--lab=--port=0"], env=here, start_new_session=True, **told)
    try:
        found = next(match for line in lab.stdout if (match := re.search(r"http\S+", line)))
    finally:
        os.killpg(lab.pid, signal.SIGKILL)
        lab.communicate()
    assert re.search(r":\d+/lab/tree/quickstart\.ipynb\?token=\w+$", found[0])


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


# train


HOOK = "blocks.0.hook_resid_post"
TEXTS = ["the cat sat on the mat", "a dog and a cat", "the mat and the dog sat"] * 6


@pytest.fixture(scope="module")
def model_folder(tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny.gpt2_network(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def train(run, model_folder, tmp_path):
    """Runs the command on some texts, in a folder of its own."""
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"story": text}) + "\n" for text in TEXTS))
    usual = {
        "column": "story",
        "folder": tmp_path / "run",
        "d-sae": 12,
        "objective": "BatchTopK(k=2)",
        "steps": 4,
        "batch": 16,
        "context": 16,
        "buffer": 64,
    }

    def command(*flags, model=model_folder, texts=texts, hook=HOOK, **changed):
        told = usual | {name.replace("_", "-"): value for name, value in changed.items()}
        options = [f"--{name}={value}" for name, value in told.items()]
        return run("train", str(model), str(texts), hook, *options, *flags)

    return command


def test_train_keeps_an_sae_of_the_settings_that_were_said(train, tmp_path):
    result = train("--quiet", "--frozen", seed=3, lr=0.5, name="mine")
    assert result.exit_code == 0, result.output
    assert result.output == f"trained {tmp_path / 'run' / 'mine'}: 12 features at {HOOK}\n"
    sae = load_sae(tmp_path / "run" / "mine")
    told = sae.provenance["recipe"]
    assert (told["seed"], told["lr"], told["context"], told["beta1"]) == (3, 0.5, 16, 0.9)
    assert told["objective"] == {"name": "BatchTopK", "k": 2, "rescue": 1 / 32}
    assert sae.placebo.startswith("Placebo")


def test_train_makes_a_transcoder(train, tmp_path):
    read, written = "blocks.1.ln2.hook_normalized", "blocks.1.hook_mlp_out"
    result = train("--quiet", "--skip", hook=read, hook_out=written)
    assert result.exit_code == 0, result.output
    sae = load_sae(tmp_path / "run" / read)
    assert sae.hook_out == written
    assert sae.W_skip is not None


def test_train_reads_the_model_of_the_demo(train, tmp_path):
    result = train("--quiet", model="demo", batch=64)
    assert result.exit_code == 0, result.output
    assert load_sae(tmp_path / "run" / HOOK).d_model == 128


def test_train_goes_on_or_begins_anew_only_if_asked(train):
    assert train("--quiet").exit_code == 0
    refused = train("--quiet")
    assert refused.exit_code == 2
    assert "holds a run already (checkpoint-4). Pass existing='resume' (--resume)" in refused.stderr
    assert train("--quiet", "--resume").exit_code == 0
    other = train("--quiet", "--resume", lr=0.25)
    assert other.exit_code == 2
    assert "lr was" in other.stderr
    assert train("--quiet", "--replace", lr=0.25).exit_code == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"column": "text"}, "record 0 has no 'text'; it has 'story'"),
        ({"texts": "nowhere.txt"}, "nowhere.txt cannot be read as a file, a folder or a dataset"),
        ({"hook": "blocks.0.hook_resid_pst"}, "Nearest names: blocks.0.hook_resid_p"),
        ({"hook": "blocks.0.hook_mlp_in"}, "exists but did not run in this forward pass"),
        ({"model": "no/such"}, "the model 'no/such' cannot be read: "),
        ({"batch": 4096}, "do not fill one batch of 4096"),
        ({"objective": "BatchTopK(k=13)"}, "k = 13 features cannot fire of a dictionary of 12"),
        ({"objective": "Sparse(k=1)"}, "there is no objective 'Sparse'; there are Matryoshka, "),
        ({"objective": "L1(l0=1)"}, "L1 has no 'l0'; it has l1, ramp"),
        ({"objective": "TopK()"}, "TopK cannot be made from {}"),
        ({"objective": "TopK(k=open('x'))"}, "is no objective"),
        ({"steps": 0}, "steps and batch must be at least 1; got 0, 16"),
        ({"folder": __file__}, "test_cli.py is a file; name a folder"),
    ],
    ids=lambda each: "-".join(each) if isinstance(each, dict) else "",
)
def test_train_says_what_is_wrong_in_one_line(train, tmp_path, changed, message):
    result = train("--quiet", **changed)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ("", "no texts were given"),
        ('{"story": ""}\n{"story": " "}\n', "all of the 2 texts are blank"),
        ('{"title": "a"}\n', "record 0 has no 'story'; it has 'title'"),
    ],
    ids=["empty", "blank", "column"],
)
def test_texts_that_hold_nothing_are_refused_before_a_model_is_read(
    train, tmp_path, monkeypatch, held, message
):
    from sae_widgets import cli

    def read(*_, **__):
        raise AssertionError("a model was read")

    monkeypatch.setattr(cli, "open_model", read)
    path = tmp_path / "nothing.jsonl"
    path.write_text(held)
    result = train("--quiet", texts=path)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def test_train_cannot_go_on_and_throw_away(train):
    result = train("--resume", "--replace")
    assert result.exit_code == 2
    assert "choose one of them" in result.stderr


def test_the_package_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "sae_widgets", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("sae-widgets ")
