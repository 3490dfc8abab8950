"""The widgets in Jupyter Notebook 7, and what a shared notebook shows in JupyterLab, to whom."""

from __future__ import annotations

import contextlib
import functools
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import nbformat
import pytest
from jupyter import Lab, answers, server, without_kernel
from playwright.sync_api import expect
from reopening import (
    PLACES,
    check_slider,
    kept_in,
    kept_panel,
    recording_in,
    reopened,
    run_and_save,
)
from waiting import until

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SAYS = "A picture of the widget"


@pytest.fixture(scope="module")
def jupyter(tmp_path_factory):
    """JupyterLab and Notebook 7 on notebooks as their authors left them, and as strangers get them.

    Yields the address, and the folder of the notebooks.
    """
    folder = tmp_path_factory.mktemp("hosts")
    notebooks = folder / "notebooks"
    notebooks.mkdir()
    for name in ("foreign", "trusted"):
        shutil.copy(NOTEBOOKS / "quickstart.ipynb", notebooks / f"{name}.ipynb")
    for name in ("live", "seven"):
        nbformat.write(widgets_alone(), notebooks / f"{name}.ipynb")
    # What is trusted is a content, wherever it is: a stranger's has to be another.
    foreign = nbformat.read(notebooks / "foreign.ipynb", 4)
    foreign.cells.append(nbformat.v4.new_markdown_cell("From far away."))
    nbformat.write(foreign, notebooks / "foreign.ipynb")
    shutil.copy(NOTEBOOKS / "share.ipynb", notebooks / "share.ipynb")
    settings = {**os.environ, "JUPYTER_DATA_DIR": str(folder / "data")}
    trust = [sys.executable, "-m", "jupyter", "trust", str(notebooks / "trusted.ipynb")]
    subprocess.run(trust, env=settings, check=True, capture_output=True)
    with server(folder, notebooks) as address:
        yield address, notebooks


@pytest.fixture(scope="module")
def shared(browser, jupyter):
    lab = Lab(browser, jupyter[0])
    yield lab
    lab.page.close()


@pytest.fixture
def live(shared):
    """The outputs of a notebook of which all cells have just run."""
    shared.open("live.ipynb")
    shared.run_all()
    notebook = whole(shared)
    expect(notebook.locator(".sae-steering .sae-ok").first).to_be_visible(timeout=90_000)
    shared.wait_idle()
    # The views are live, so their twins are not in sight.
    expect(pictures(notebook)).to_have_count(2)
    expect(pictures(notebook).first).to_be_hidden()
    return notebook


@pytest.fixture(scope="module")
def notebook7(browser, jupyter):
    lab = Lab(browser, jupyter[0], place="notebooks")
    yield lab
    lab.page.close()


def widgets_alone():
    """A notebook with both widgets, of which no cell was run."""
    cells = (
        "import sae_widgets as sw\nsession = sw.load_demo()",
        'session.heatmap("Ahoy, the sailor hauled the net.")',
        'sea = session.find("sea")\n'
        'steering = session.steer("Felix hid", [session.recommended(sea)])\nsteering',
    )
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    return made


def test_in_jupyter_notebook_the_widgets_are_read_and_steered_as_in_the_lab(notebook7):
    page = notebook7.page
    notebook7.open("seven.ipynb")
    notebook7.run_all()
    steering = page.locator(".sae-steering")
    expect(steering.locator(".sae-ok")).to_be_visible(timeout=90_000)
    expect(page.locator(".sae-heatmap").get_by_role("grid")).to_be_visible()
    steered = steering.locator(".sae-pane").nth(1)
    before = steered.inner_text()
    slider = steering.get_by_role("slider").first
    for _ in range(4):
        slider.press("ArrowLeft")
    expect(steered).not_to_have_text(before, timeout=20_000)


MARIMO = """
import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
    import sae_widgets as sw
    session = sw.load_demo()
    return mo, session

@app.cell
def _(mo, session):
    heatmap = mo.ui.anywidget(session.heatmap("Ahoy, the sailor hauled the net."))
    heatmap
    return (heatmap,)

@app.cell
def _(mo, session):
    edit = session.recommended(session.find("sea"))
    steering = mo.ui.anywidget(session.steer("Felix hid", [edit]))
    steering
    return (steering,)

if __name__ == "__main__":
    app.run()
"""


def test_in_marimo_the_widgets_are_read_and_steered_in_their_shadow_roots(browser, tmp_path):
    (tmp_path / "notebook.py").write_text(MARIMO)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    run = ["-m", "marimo", "run", "notebook.py", "--headless", "--no-token", f"--port={port}"]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, *run], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        address = f"http://127.0.0.1:{port}"
        until(lambda: answers(address), seconds=60)
        with browser.new_page(viewport={"width": 1200, "height": 1400}) as page:
            errors = []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.goto(address)
            steering = page.locator(".sae-steering")
            expect(steering.locator(".sae-ok")).to_be_visible(timeout=90_000)
            assert steering.evaluate("(e) => e.getRootNode() instanceof ShadowRoot")
            expect(page.locator(".sae-heatmap").get_by_role("grid")).to_be_visible()
            steered = steering.locator(".sae-pane").nth(1)
            before = steered.inner_text()
            for _ in range(4):
                steering.get_by_role("slider").first.press("ArrowLeft")
            expect(steered).not_to_have_text(before, timeout=20_000)
            assert errors == []
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def pictures(page):
    # JupyterLab gives its pictures no alternative text: the words are above.
    return page.locator(".jp-RenderedImage img")


def opened(shared, name):
    """The outputs of a notebook that was opened and of which no cell was run."""
    # In a low window, whatever is not on screen is rendered only when the kernel has answered.
    shared.page.set_viewport_size({"width": 1400, "height": 300})
    shared.open(f"{name}.ipynb")
    return whole(shared)


def whole(shared):
    # Outputs that are out of sight are not rendered: a high window holds them all.
    shared.page.set_viewport_size({"width": 1400, "height": 4000})
    expect(shared.page.locator(".jp-OutputArea-output:visible").first).to_be_visible(timeout=30_000)
    return shared.page.locator(".jp-NotebookPanel")


def shows_pictures(notebook):
    """In place of the two widgets, with their words, and with no error."""
    expect(pictures(notebook)).to_have_count(2)
    expect(notebook.get_by_text(SAYS)).to_have_count(2)
    for shown in (*pictures(notebook).all(), *notebook.get_by_text(SAYS).all()):
        expect(shown).to_be_visible()
    expect(notebook.locator(".sae-root")).to_have_count(0)
    for error in notebook.get_by_text("Error displaying widget").all():
        expect(error).to_be_hidden()


def test_a_stranger_who_trusts_nothing_sees_pictures(shared):
    notebook = opened(shared, "foreign")
    shows_pictures(notebook)
    assert notebook.locator("iframe").count() == 0
    notebook.get_by_text(SAYS).first.click()
    expect(notebook.get_by_text("When its cell had run: Feature heatmap of")).to_be_visible()


def test_in_a_trusted_notebook_that_has_its_state_the_widgets_are_there_once_and_say_recorded(
    shared,
):
    """As views that Jupyter restores, or, where it is too late for that, in frames."""
    notebook = opened(shared, "trusted")
    views = "iframe.sae-kept:visible, .sae-root:visible"
    expect(notebook.locator(views)).to_have_count(2, timeout=60_000)
    shared.page.wait_for_timeout(1500)  # as long as frames wait for views
    expect(notebook.locator(views)).to_have_count(2)
    for view, kind in zip(notebook.locator(views).all(), ("heatmap", "steering"), strict=True):
        framed = view.evaluate("(e) => e.tagName") == "IFRAME"
        root = view.content_frame.locator(".sae-root") if framed else view
        expect(root).to_have_class(f"sae-root sae-{kind}")
        expect(root.locator(".sae-note").first).to_contain_text("Recorded")
    for twin in (*pictures(notebook).all(), *notebook.get_by_text(SAYS).all()):
        expect(twin).to_be_hidden()


@pytest.fixture(scope="module")
def recorded(browser, jupyter):
    """A notebook that records, as it is when its author has run and saved it; all by default."""
    address, notebooks = jupyter
    run_and_save(browser, address, "share.ipynb")
    return notebooks / "share.ipynb"


@pytest.mark.parametrize("height", [300, 1400])
@pytest.mark.parametrize("place", PLACES.values())
def test_in_a_reopened_notebook_a_recorded_slider_works_whatever_jupyters_settings_are(
    browser, jupyter, recorded, place, height
):
    """`python tests/browser/reopening.py 20` does it twenty times, on a busy machine."""
    with reopened(browser, jupyter[0], recorded.name, height=height, place=place) as page:
        panel = kept_panel(page)
        check_slider(panel, recording_in(recorded))
        expect(page.locator(".sae-root")).to_have_count(0)
        expect(pictures(page).first).to_be_hidden()


def test_a_kept_widget_follows_the_theme_and_its_keys_stay_in_it(browser, jupyter, recorded):
    with reopened(browser, jupyter[0], recorded.name, height=1000) as page:
        root = kept_panel(page).locator(".sae-steering")
        expect(root).to_have_attribute("data-theme", "light")
        cells = page.locator(".jp-Cell").count()
        root.get_by_role("slider").first.focus()
        page.keyboard.type("abdd")
        assert page.locator(".jp-Cell").count() == cells
        page.evaluate(
            "window.jupyterapp.commands.execute"
            "('apputils:change-theme', {theme: 'JupyterLab Dark'})"
        )
        expect(root).to_have_attribute("data-theme", "dark", timeout=20_000)
        frame = page.locator("iframe.sae-kept").first
        high, all = frame.bounding_box()["height"], root.bounding_box()["height"]
        assert all <= high <= all + 20


def test_in_jupyterlite_a_notebook_shows_its_pictures_without_a_kernel_or_a_network(
    browser, tmp_path
):
    pytest.importorskip("jupyterlite_core", reason="pip install 'sae-widgets[test]'")
    (tmp_path / "files").mkdir()
    shutil.copy(NOTEBOOKS / "quickstart.ipynb", tmp_path / "files")
    build = ["jupyterlite_core", "build", "--contents=files", "--output-dir=site"]
    subprocess.run(
        [sys.executable, "-m", *build], cwd=tmp_path, check=True, capture_output=True, timeout=120
    )
    far = []
    with (
        http_server(tmp_path / "site") as address,
        browser.new_page(viewport={"width": 1400, "height": 4000}) as page,
    ):
        page.on("request", lambda request: far.append(request.url))
        page.goto(f"{address}/lab/index.html?path=quickstart.ipynb")
        without_kernel(page)
        shows_pictures(page.locator(".jp-NotebookPanel"))
    assert [url for url in far if not url.startswith((address, "data:", "blob:"))] == []


@contextlib.contextmanager
def http_server(folder):
    handler = functools.partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{made.server_port}"
        finally:
            made.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_two_views_of_a_widget_agree_and_one_outlives_the_cell_of_the_other(shared, live):
    steering = live.locator(".sae-steering")
    shared.page.evaluate(
        """async () => {
            const { content, sessionContext } = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = content.widgets.length - 1;
            await window.jupyterapp.commands.execute("notebook:insert-cell-below");
            content.activeCell.model.sharedModel.setSource("steering");
            await window.jupyterapp.commands.execute("notebook:run-cell");
        }"""
    )
    expect(steering).to_have_count(2, timeout=30_000)
    names = steering.nth(0).locator(".sae-name")
    rows = names.count()
    shared.python("session.edits = []")
    for view in (steering.nth(0), steering.nth(1)):
        expect(view.locator(".sae-name")).to_have_count(0)
    assert rows > 0
    shared.command("notebook:delete-cell")
    expect(steering).to_have_count(1)
    box = steering.get_by_label("tokens to write")
    box.fill("12")
    box.press("Enter")
    until(lambda: shared.python("print(steering.length)").strip() == "12", seconds=30)
    assert shared.errors == []


def test_after_its_kernel_has_gone_a_saved_notebook_shows_what_was_last_seen(shared, live, jupyter):
    """The author changes a widget, saves, shuts the kernel down, and opens the notebook again."""
    page, steered = shared.page, pictures(live).last
    before = steered.get_attribute("src")
    shared.python("session.edits = [sw.Add(5, 1.25)]")
    expect(steered).not_to_have_attribute("src", before, timeout=30_000)
    last = steered.get_attribute("src")
    page.evaluate(
        """async () => {
            await window.jupyterapp.commands.execute("docmanager:save");
            await window.jupyterapp.shell.currentWidget.sessionContext.shutdown();
        }"""
    )
    with reopened(page.context.browser, jupyter[0], "live.ipynb", height=1000) as again:
        panel = kept_panel(again)
        expect(panel.locator(".sae-name")).to_have_count(1)
        expect(panel.get_by_role("slider").first).to_have_attribute("aria-valuenow", "1.25")
        expect(again.locator(".sae-root")).to_have_count(0)
    *_, kept = kept_in(jupyter[1] / "live.ipynb")
    assert [edit["strength"] for edit in kept.traits["edits"]] == [1.25]
    # Who trusts nothing sees the picture of it.
    assert last in picture_sources(jupyter[1] / "live.ipynb")


def picture_sources(path):
    """The pictures of a notebook, as a page shows them."""
    outputs = [o for cell in nbformat.read(path, 4).cells for o in cell.get("outputs", ())]
    found = [o.data["image/png"] for o in outputs if "image/png" in o.get("data", {})]
    return ["data:image/png;base64," + png.replace("\n", "") for png in found]
