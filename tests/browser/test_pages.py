"""Saved pages in a real browser without a network: what they show, what works, what must not."""

import base64
import re

import nbformat
import plausible
import pytest
from nbconvert.exporters import HTMLExporter
from playwright.sync_api import expect
from test_heatmap import TEXT, cell, heatmap
from test_steering import SEA, steering
from test_training import RUN, line

import sae_widgets as sw
from sae_widgets.share.clean import STATE
from sae_widgets.share.exporter import SaeHTMLExporter
from sae_widgets.share.picture import Picture
from sae_widgets.share.stored import VIEW
from sae_widgets.share.twin import picture_output, words_output
from sae_widgets.widgets import Inline, Training

ATTACK = "</script><img src=x onerror='pwned=1'><script>pwned=1</script>\u2028"
PWNED = "() => window.pwned !== undefined"


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a file in a browser without a network; fails if the page asks for anything."""
    contexts, asked, errors = [], [], []

    def open(text_or_path, *, troubled=False, **options):
        path = text_or_path
        if isinstance(text_or_path, str):
            path = tmp_path / "notebook.html"
            path.write_text(text_or_path, encoding="utf-8")
        context = browser.new_context(**{"viewport": {"width": 1120, "height": 900}, **options})
        contexts.append(context)
        context.route("**/*", lambda route: (asked.append(route.request.url), route.continue_()))
        page = context.new_page()
        # What the policy refuses is an error on the console, too.
        if not troubled:
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
        page.goto(path.as_uri())
        return page

    yield open
    for context in contexts:
        context.close()
    assert [url for url in asked if not url.startswith("file:")] == []
    assert len(asked) == len(contexts)
    assert errors == []


def saved(tmp_path, *widgets):
    return sw.save_html(widgets, tmp_path / "page.html")


def test_a_page_shows_its_widgets_and_says_at_once_that_they_are_recorded(visit, tmp_path):
    page = visit(saved(tmp_path, heatmap(), steering()))
    for name in ("heatmap", "steering"):
        root = page.locator(f".sae-{name}")
        expect(root.locator(".sae-note")).to_contain_text("Recorded", timeout=1000)
    assert page.locator("img").count() == 0
    expect(page.locator(".sae-heatmap")).to_contain_text("features · 17 tokens")
    expect(page.get_by_role("button", name="Run")).to_be_disabled()


def test_the_heatmap_of_a_page_can_be_sorted_pointed_at_and_selected(visit, tmp_path):
    widget = heatmap()
    widget.selected = widget.view["features"][0]["feature"]
    page = visit(saved(tmp_path, widget))
    root = page.locator(".sae-heatmap")
    # The card that was recorded.
    expect(root.locator(".sae-card")).to_contain_text("makes likely")
    root.get_by_label("Sort").select_option("by number")
    first = min(feature["feature"] for feature in widget.view["features"])
    grid = root.get_by_role("grid")
    grid.focus()
    page.keyboard.press("Control+Home")
    expect(root.locator("[role=gridcell]")).to_contain_text(f"feature {first}")
    grid.hover(position=cell(root, row=0, column=7))
    expect(root.locator(".sae-tip")).to_be_visible()
    grid.click(position=cell(root, row=1, column=7))
    # And those of all other features that are shown.
    expect(root.locator(".sae-card h4")).not_to_have_text(widget.card["label"])
    expect(root.locator(".sae-card")).to_contain_text("makes likely")
    expect(root.locator(".sae-card .sae-chip").first).to_contain_text(plausible.LIKELY[0][0])
    assert root.locator(".sae-card svg rect").count() >= 32


def test_the_history_and_the_sweep_of_a_page_can_be_looked_through(visit, tmp_path):
    widget = steering()
    widget.edits = []
    widget.edits = [{**SEA, "strength": 0.9}]
    settings = {name: getattr(widget, name) for name in ("prompt", "length", "temperature", "seed")}
    widget.sweep = {"id": 9, **settings, "edits": widget.edits, "control": ""}
    root = visit(saved(tmp_path, widget)).locator(".sae-steering")
    steered = root.locator(".sae-pane p").nth(1)
    last = steered.inner_text()
    plot = root.locator(".sae-plot")
    plot.hover(position={"x": 2, "y": 30})
    expect(root.locator(".sae-pane").nth(1)).to_contain_text("steered at")
    root.get_by_role("button", name="history").click()
    root.locator(".sae-go").nth(1).hover()  # the newest is the first
    expect(steered).not_to_have_text(last)
    slider = root.get_by_role("slider").first
    expect(slider).to_have_attribute("aria-disabled", "true")


def test_the_figures_of_a_training_can_be_read_step_by_step_on_a_page(visit, tmp_path):
    def train(widget):
        widget.begin(0, [])
        for step in range(1, 81):
            widget.add(line(step))
        widget.after(80)

    widget = Training(train, RUN, worker=Inline)
    widget.at = {**widget.at, "state": "training"}  # as in a notebook that was saved meanwhile
    page = visit(saved(tmp_path, widget))
    root = page.locator(".sae-training")
    expect(root.locator(".sae-note")).to_contain_text("Recorded", timeout=1000)
    expect(root).to_contain_text("recorded at step 80 of 100, while it ran")
    expect(root.get_by_role("button", name="Pause")).to_be_disabled()
    root.get_by_role("slider").press("Home")
    expect(root.get_by_role("img").first).to_have_attribute(
        "aria-label", f"loss: {line(1)['loss']:.3g} at step 1"
    )


def test_a_page_follows_the_colours_of_the_system(visit, tmp_path):
    path = saved(tmp_path, heatmap())
    for scheme in ("light", "dark"):
        page = visit(path, color_scheme=scheme)
        expect(page.locator(".sae-root")).to_have_attribute("data-theme", scheme)


def test_a_page_whose_script_may_not_run_shows_the_pictures(visit, tmp_path):
    widget = heatmap()
    page = visit(saved(tmp_path, widget), java_script_enabled=False)
    picture = page.get_by_role("img")
    expect(picture).to_be_visible()
    assert picture.get_attribute("alt") == Picture.of(widget).words
    assert picture.bounding_box()["width"] == 960


FRESH = {**SEA, "feature": 57, "on": False}


def with_recording(**traits):
    """A panel with two edits, of which the second is off, recorded with two seeds."""
    widget = steering(edits=[{**SEA, "strength": 0.4}, FRESH], **traits)
    asked = {"prompt": widget.prompt, "length": 40, "temperature": 0.0, "seeds": [0, 7]}
    for more in plausible.record({**asked, "edits": widget.edits}, None, *[lambda *_: None] * 2):
        kept = widget.recording
        widget.recording = more if kept is None else kept.and_then(more)
    return widget


@pytest.mark.parametrize("how", ["a page", "a notebook"])
def test_sliders_of_what_was_recorded_work_in_a_page(visit, tmp_path, how):
    widget = with_recording()
    page = visit(saved(tmp_path, widget) if how == "a page" else exported(widget))
    root = page.locator(".sae-steering")
    expect(root.locator(".sae-note")).to_contain_text("Sliders with ticks still work")
    sea, cooking, plot = (root.get_by_role("slider").nth(i) for i in range(3))
    panes, badge = root.locator(".sae-pane"), root.locator(".sae-foot .sae-badge")
    # The run that the model made is shown first; then the arrows go from tick to tick.
    expect(panes.nth(1)).to_contain_text("opened the harbor")
    expect(root.locator(".sae-tick")).to_have_count(10)
    sea.press("ArrowRight")
    expect(panes.nth(1)).to_contain_text("131 at 0.8, 0:")
    expect(panes.nth(1)).to_contain_text("1.86 nats/token · KL 0.40")
    expect(badge).to_have_text("recorded")
    expect(root.locator(".sae-foot")).to_contain_text("applied at 0 + 35 of 39 positions")
    assert root.locator(".sae-kl").last.get_attribute("title") == "KL 0.80 nats"
    sea.press("ArrowRight")  # there is none beyond
    expect(sea).to_have_attribute("aria-valuenow", "0.8")
    for _ in range(3):
        sea.press("ArrowLeft")
    expect(sea).to_have_attribute("aria-valuenow", "0")
    expect(panes.nth(1)).to_contain_text("the same text")
    sea.press("Home")
    expect(panes.nth(1)).to_contain_text("131 at -0.6, 0:")
    # The pointer drags the other edit, which then acts alone, and snaps.
    rail = root.locator(".sae-rail").nth(1).bounding_box()
    x = lambda strength: rail["x"] + rail["width"] * (strength + 1.2) / 2.4  # noqa: E731
    page.mouse.move(x(0.0), rail["y"] + 10)
    page.mouse.down()
    page.mouse.move(x(0.29), rail["y"] + 10)
    expect(panes.nth(1)).to_contain_text("57 at 0.2, 0:")
    page.mouse.move(x(0.31), rail["y"] + 10)
    expect(panes.nth(1)).to_contain_text("57 at 0.4, 0:")
    page.mouse.up()
    expect(root.locator(".sae-off")).to_have_count(1)
    expect(cooking).to_have_attribute("aria-valuenow", "0.4")
    # The seed is one of those recorded, and the curve can be read and taken.
    root.get_by_label("seed").select_option("7")
    expect(panes.nth(1)).to_contain_text("57 at 0.4, 7:")
    expect(root.locator(".sae-ticks")).to_have_text("−0.600.20.40.8")
    box = plot.bounding_box()
    plot.hover(position={"x": box["width"] - 2, "y": 20})
    expect(root.locator(".sae-sweep")).to_contain_text("feature 0.64 × peak · KL 0.40")
    plot.click(position={"x": box["width"] * 0.8 / 1.4, "y": 20})
    expect(cooking).to_have_attribute("aria-valuenow", "0.2")
    page.mouse.move(2, 2)
    expect(panes.nth(1)).to_contain_text("57 at 0.2, 7:")
    # What needs the model says why it does nothing.
    for name in ("strength", "operation", "tokens to write"):
        expect(root.get_by_label(name, exact=True).first).to_be_disabled()
    expect(root.get_by_role("button", name="record")).to_have_attribute(
        "title", re.compile("no ker")
    )


def test_an_edit_that_was_not_recorded_as_it_is_cannot_be_moved_and_says_why(visit, tmp_path):
    widget = with_recording()
    widget.edits = [{**SEA, "unit": "norm"}, FRESH]
    root = visit(saved(tmp_path, widget)).locator(".sae-steering")
    sea, cooking = (root.get_by_role("slider").nth(i) for i in range(2))
    expect(sea).to_have_attribute("aria-disabled", "true")
    expect(sea).to_have_attribute("title", re.compile("no kernel"))
    expect(cooking).to_have_attribute("aria-disabled", "false")


def test_a_recording_of_another_prompt_is_shown_with_its_own(visit, tmp_path):
    widget = with_recording()
    widget.prompt, widget.length, widget.seed = "Another one", 12, 3
    root = visit(saved(tmp_path, widget)).locator(".sae-steering")
    root.get_by_role("slider").first.press("End")
    expect(root.locator(".sae-pane p").nth(1)).to_have_text(
        re.compile(r"The captain opened the 131 at 0\.8, 0:")
    )
    expect(root.locator("textarea")).to_have_value("The captain opened the")


def test_a_recording_that_was_tampered_with_runs_nothing_and_breaks_nothing(visit):
    widget = with_recording()
    described = widget.recorded
    vocab = [ATTACK, *described["vocab"][1:]]
    page = visit(exported(widget, recorded={**described, "vocab": vocab, "given": [ATTACK]}))
    root = page.locator(".sae-steering")
    root.get_by_role("slider").first.press("End")
    assert page.locator("img").count() == 0
    assert not page.evaluate(PWNED)
    takes = [{**described["takes"][0], "strengths": [1] * 9999}]
    for wrong in ({"takes": takes}, {"vocab": [{}]}, {"given": "x"}, {"takes": {}}):
        root = visit(exported(widget, recorded={**described, **wrong})).locator(".sae-steering")
        expect(root.locator(".sae-pane p").nth(1)).to_contain_text("harbor")
        expect(root.get_by_role("slider").first).to_have_attribute("aria-disabled", "true")


def hostile_read(text, sae, check=lambda: None):
    view = plausible.read(text, sae, check)
    features = [type(row)(**{**vars(row), "label": ATTACK}) for row in view.features]
    tokens = [ATTACK, *view.tokens[1:]]
    return type(view)(**{**vars(view), "tokens": tokens, "features": features, "note": ATTACK})


def hostile_run(request, check, on_tokens):
    told = plausible.run(request, check, on_tokens)
    arms = [{**arm, "name": ATTACK, "tokens": [ATTACK, *arm["tokens"]]} for arm in told["arms"]]
    return {**told, "arms": arms, "note": ATTACK}


def test_names_tokens_and_texts_are_shown_and_never_run(visit, tmp_path):
    read = heatmap(ATTACK, hostile_read)
    wrote = steering(hostile_run, prompt=ATTACK)
    page = visit(saved(tmp_path, read, wrote))
    expect(page.locator(".sae-steering")).to_contain_text("<img src=x onerror")
    expect(page.locator(".sae-heatmap .sae-note").last).to_contain_text("</script>")
    assert page.locator("img").count() == 0
    assert not page.evaluate(PWNED)
    page = visit(exported(read, wrote))
    expect(page.locator(".sae-steering")).to_contain_text("<img src=x onerror")
    assert page.locator("img").count() == 0
    assert not page.evaluate(PWNED)


def notebook(*widgets, **traits):
    """A notebook as Jupyter saves it, with `traits` in place of what was recorded."""
    made = nbformat.v4.new_notebook()
    states = {}
    for widget in widgets:
        picture = Picture.of(widget)
        png, metadata = picture_output(widget, carrier=not made.cells)
        outputs = [
            ({VIEW: {"model_id": widget.model_id}, "text/plain": repr(widget)}, {}),
            (words_output(picture), {"sae_widgets": "words"}),
            (png, metadata),
        ]
        cell = nbformat.v4.new_code_cell("widget")
        for data, about in outputs:
            cell.outputs.append(nbformat.v4.new_output("display_data", data, metadata=about))
        made.cells.append(cell)
        state = {name: value for name, value in widget.get_state().items() if name != "layout"}
        buffers = [
            {"path": [name], "encoding": "base64", "data": base64.b64encode(value).decode()}
            for name, value in state.items()
            if isinstance(value, bytes)
        ]
        plain = {name: value for name, value in state.items() if not isinstance(value, bytes)}
        states[widget.model_id] = {"state": {**plain, **traits}, "buffers": buffers}
    made.metadata["widgets"] = {STATE: {"state": states}}
    return nbformat.from_dict(made)


def exported(*widgets, **traits):
    return SaeHTMLExporter().from_notebook_node(notebook(*widgets, **traits))[0]


def test_the_widgets_of_an_exported_notebook_live(visit):
    page = visit(exported(heatmap(), steering()))
    expect(page.locator(".sae-root")).to_have_count(2)
    assert page.locator("img").count() == 0
    root = page.locator(".sae-heatmap")
    root.get_by_role("grid").hover(position=cell(root, row=0, column=7))
    expect(root.locator(".sae-tip")).to_be_visible()
    expect(page.locator(".sae-steering .sae-note")).to_contain_text("Recorded")


def test_of_a_notebook_that_was_tampered_with_nothing_runs(visit):
    tampered = {"_esm": "pwned=1", "_css": "body{display:none}", "view": {"tokens": 1}}
    page = visit(exported(heatmap(), **tampered), troubled=True)
    expect(page.get_by_role("img")).to_be_visible()  # it cannot be shown: its picture stays
    assert page.locator(".sae-root").count() == 0
    assert not page.evaluate(PWNED)


def test_an_exported_notebook_reaches_nothing_whatever_is_in_its_outputs(visit):
    made = notebook(heatmap())
    far = "http://far.test"
    attacks = [
        f"<script src='{far}/a.js'></script><script>pwned=1</script>",
        "<img src=x: onerror='pwned=1'><svg onload='pwned=1'></svg>",
        f"<img src='{far}/b.png'><video src='{far}/c'></video><link rel=stylesheet href={far}/d>",
        f"<meta http-equiv=refresh content='0;url={far}/e'><base href='{far}'>",
        f"<iframe src='{far}/f'></iframe><object data='{far}/g'></object>",
        f"<style>@import '{far}/h'; body {{ background: url({far}/i) }}</style>",
        f"<iframe srcdoc=\"<img src='{far}/j'><script>parent.pwned=1</script>\"></iframe>",
        f"<a id=go href='javascript:pwned=1'>go</a><form action='{far}/k'></form>",
        # Where a browser and a parser of Python may not agree on what is an element.
        f"<svg><style><meta name='>' http-equiv='refresh' content='0;url={far}/n'></style></svg>",
        f"<!--> <meta name='>' http-equiv='refresh' content='0;url={far}/o'> -->",
        f"<svg><style><me<link>ta http-equiv='refresh' content='0;url={far}/p'></style></svg>",
        f"<svg><![CDATA[><meta http-equiv='refresh' content='0;url={far}/q'>]]></svg></body>",
    ]
    for attack in attacks:
        output = nbformat.v4.new_output("display_data", {"text/html": attack})
        made.cells[0].outputs.append(output)
    made.cells.append(
        nbformat.v4.new_markdown_cell(f"![]({far}/l.png) <img src=y: onerror=pwned=1>")
    )
    page = visit(SaeHTMLExporter().from_notebook_node(made)[0], troubled=True)
    expect(page.locator(".sae-heatmap")).to_be_visible()
    page.locator("#go").click()
    page.wait_for_timeout(1500)
    assert page.url.startswith("file:")
    assert not page.evaluate(PWNED)
    assert TEXT in page.locator(".sae-heatmap textarea").input_value()


def plain(*widgets, **traits):
    """What nbconvert itself makes of a notebook of which no state was saved."""
    made = notebook(*widgets, **traits)
    del made.metadata["widgets"]
    page, _ = HTMLExporter().from_notebook_node(made)
    return offline(page)


def offline(page):
    """Without what nbconvert itself asks the network for: a font, MathJax."""
    return re.sub(r"<script src=.*?</script>|<link[^>]*>", "", page, flags=re.S)


def test_the_widgets_that_pictures_keep_live_in_frames_and_each_is_there_once(visit):
    page = visit(plain(heatmap(), with_recording()))
    frames = page.locator("iframe.sae-kept")
    expect(frames).to_have_count(2)
    root = frames.nth(0).content_frame.locator(".sae-heatmap")
    expect(root.locator(".sae-note").first).to_contain_text("Recorded")
    high, all = frames.nth(0).bounding_box()["height"], root.bounding_box()["height"]
    assert all <= high <= all + 20
    panel = frames.nth(1).content_frame.locator(".sae-steering")
    panel.get_by_role("slider").first.press("Home")
    expect(panel.locator(".sae-pane").nth(1)).to_contain_text("131 at -0.6, 0:")
    for hidden in (*page.locator(".sae-twin").all(), *page.locator("img").all()):
        expect(hidden).to_be_hidden()


def test_without_the_picture_that_has_the_script_the_others_stay_pictures(visit):
    made = notebook(heatmap(), heatmap())
    del made.metadata["widgets"]
    del made.cells[0]
    page = visit(offline(HTMLExporter().from_notebook_node(made)[0]))
    page.wait_for_timeout(2000)
    expect(page.get_by_role("img")).to_be_visible()
    assert page.locator("iframe").count() == 0


def test_a_kept_widget_reaches_neither_the_notebook_nor_a_network(visit, monkeypatch):
    """Also where somebody has put another script into the picture."""
    reach = (
        "try { parent.pwned = 1 } catch {}\n"
        "try { localStorage.a = 1; parent.pwned = 1 } catch {}\n"
        "fetch('http://far.test/a').catch(() => {});\n"
        "new Image().src = 'http://far.test/b';\n"
        "parent.postMessage({ kind: 'sae-height', height: 1e9 }, '*');"
    )
    monkeypatch.setattr("sae_widgets.share.kept.script", lambda: reach)
    page = visit(plain(heatmap(ATTACK, hostile_read)), troubled=True)
    frame = page.locator("iframe.sae-kept")
    expect(frame).to_be_attached()
    page.wait_for_timeout(1000)
    assert not page.evaluate(PWNED)
    assert frame.bounding_box()["height"] == 20_000


@pytest.mark.parametrize("text", ["", "{", '{"values":[],"widgets":[{"name":"evil","traits":{}}]}'])
def test_what_makes_no_sense_in_a_picture_leaves_it_a_picture(visit, monkeypatch, text):
    monkeypatch.setattr("sae_widgets.share.kept.data", lambda _: text)
    page = visit(plain(heatmap()), troubled=True)
    page.wait_for_timeout(2500)
    expect(page.get_by_role("img")).to_be_visible()
    assert page.locator("iframe.sae-kept").count() == 0


def test_a_view_hides_its_twin_and_a_missing_view_is_hidden_by_it(browser):
    """In the containers of JupyterLab and of nbconvert's pages."""
    words = words_output(Picture(b"", 1, 1, "words"))["text/html"]

    def output(inside):
        shown = f'<div class="jp-OutputArea-output">{inside}</div>'
        return f'<div class="jp-OutputArea-child"><div class="prompt"></div>{shown}</div>'

    twin = output(words) + output("<img>")
    cells = {
        "live": output("<div class=sae-root>live</div>") + twin + output("<pre>printed</pre>"),
        "lost": output("Error displaying widget: model not found") + twin,
        "text": output("<pre>Heatmap(…)</pre>") + twin,
        "alone": output("<div class=sae-root>live</div>") + output("<img>"),
        "other": output("some text of a widget of others") + output("<img>"),
    }
    with browser.new_page() as page:
        page.set_content("".join(f"<div id={name}>{cell}</div>" for name, cell in cells.items()))
        seen = {
            name: page.locator(f"#{name} > *").evaluate_all(
                "(children) => children.map((e) => e.getClientRects().length > 0)"
            )
            for name in cells
        }
    assert seen == {
        "live": [True, False, False, True],
        "lost": [False, True, True],
        "text": [True, True, True],
        "alone": [True, True],
        "other": [True, True],
    }
