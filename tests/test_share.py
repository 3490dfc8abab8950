"""What works without a kernel: pictures, their words, the twin in a notebook, the page."""

import base64
import hashlib
import html
import io
import json
import math
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert.exporters import HTMLExporter, LatexExporter, MarkdownExporter
from nbconvert.preprocessors import Preprocessor
from PIL import Image
from test_training_widget import PAIR, line, pair_line, training
from test_widgets import EDIT, heatmap, steering

import sae_widgets as sw
from sae_widgets.share import numbers
from sae_widgets.share.axis import linear, logarithmic
from sae_widgets.share.clean import STATE
from sae_widgets.share.color import HUES, INK, LINE, NEW, PAGE, WARM, WELL, ramp, shade
from sae_widgets.share.exporter import SaeHTMLExporter
from sae_widgets.share.flow import LINE_HEIGHT, MOST_LINES, Stretch, fork, lay, moved
from sae_widgets.share.kept import view_in, without_view
from sae_widgets.share.picture import Picture
from sae_widgets.share.recording import MARK, Recorded, data, policy, script
from sae_widgets.share.sheet import SCALE, TEXT, Sheet, printable
from sae_widgets.share.stored import VIEW
from sae_widgets.share.training import fine
from sae_widgets.share.twin import leave_twin

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
HOSTILE = "</script><img src=x onerror=alert(1)>\u2028<!--"


def pixels(png, height=None):
    """The colours of a picture, `[y, x, 3]`."""
    image = Image.open(io.BytesIO(png))
    assert height is None or image.height == SCALE * height
    return np.asarray(image.convert("RGB")).astype(int)


def of_color(picture, color):
    """The box around a colour, the legend aside: left, top, right, bottom in browser's pixels."""
    rows, columns = np.nonzero((pixels(picture.png)[: -30 * SCALE] == color).all(-1))
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    return [edge / SCALE for edge in edges]


def colors(picture):
    return {tuple(color) for color in pixels(picture.png).reshape(-1, 3)}


def run_of(*texts):
    """What a run tells the panel, by hand."""
    arms = [
        {"name": name, "tokens": text, "nll": 1.25}
        for name, text in zip(("base", "steered"), texts, strict=False)
    ]
    known = {"prompt": ["So"], "calls": {"prefill": 1, "steps": 2}, "positions": [1, 2]}
    return {"arms": arms, "ratio": 0.5, **known}


def written(*texts, edits=(EDIT,), **options):
    """A steering panel that has written these texts."""
    panel, _ = steering(lambda *_: run_of(*texts), prompt="So", edits=list(edits), **options)
    return panel


# Colours and numbers


def test_the_ramp_begins_at_nothing_and_grows_evenly_darker():
    assert ramp()[0] == WELL
    lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in ramp()]
    assert lightness == sorted(lightness, reverse=True)
    assert (shade(-1), shade(2)) == (ramp()[0], ramp()[-1])
    # What Chromium makes of the ramp in `js/src/color.ts`, from the same well.
    chromium = {0.25: (161, 191, 238), 0.5: (80, 135, 227), 0.75: (42, 84, 163), 1: (9, 35, 104)}
    for share, color in chromium.items():
        assert np.abs(np.subtract(shade(share), color)).max() <= 1


@pytest.mark.parametrize(
    ("made", "wanted"),
    [
        (numbers.number(None), "–"),
        (numbers.number(-0.5), "−0.50"),
        (numbers.number(12.34), "12.3"),
        (numbers.number(1234.5), "1234"),
        (numbers.number(0.0004), "4e−4"),
        (numbers.change(-12.44), "−12.4"),
        (numbers.signed(9.3), "+9.3"),
        (numbers.signed(-12.4), "−12"),
        (numbers.percent(0.019), "1.9 %"),
        (numbers.percent(0.12), "12 %"),
        (numbers.percent(0.00001), "< 0.01 %"),
        (numbers.strength(-1.3300000001), "−1.33"),
        (numbers.count(1, "token"), "1 token"),
    ],
)
def test_numbers_are_written_as_in_the_widgets(made, wanted):
    assert made == wanted


# Running text


def test_a_word_of_several_tokens_is_not_broken_and_a_line_break_is_kept():
    sheet = Sheet(400)
    room = TEXT.length("one two ")
    assert lay(sheet, 0, 0, room, [Stretch("one two")]) == LINE_HEIGHT
    assert lay(sheet, 0, 0, room, [Stretch("one"), Stretch(" tw"), Stretch("ofold")]) == (
        2 * LINE_HEIGHT
    )
    assert lay(sheet, 0, 0, room, [Stretch("one\ntwo")]) == 2 * LINE_HEIGHT


def test_text_stays_within_its_room_however_long_a_word_is():
    sheet = Sheet(400)
    end = lay(sheet, 10, 0, 120, [Stretch("a" * 100), Stretch(" b", fork=True)])
    ink = (pixels(sheet.png(end)) != PAGE).any(-1).any(0)
    assert ink[: 10 * SCALE].sum() == 0
    assert ink[(10 + 120 + 1) * SCALE :].sum() == 0
    assert ink.sum() >= 100 * SCALE


def test_a_long_text_ends_in_an_ellipsis():
    sheet = Sheet(400)
    assert lay(sheet, 0, 0, 100, [Stretch("word " * 500)]) == MOST_LINES * LINE_HEIGHT


def test_what_is_new_in_a_text_is_what_no_longest_common_part_holds():
    one, other = "a b c d e".split(), "b x d , e y".split()
    assert moved(one, other) == [False, True, False, False, False, True]
    assert fork("a b c".split(), "a x c".split()) == 1
    assert fork(["a"], ["a", "b"]) is None


def test_what_cannot_be_drawn_is_drawn_as_a_mark():
    assert printable("a\nb\x00\ud800é") == "a↵b��é"


# The heatmap


def test_each_cell_has_the_shade_of_its_value_and_zero_looks_like_nothing():
    picture = Picture.of(heatmap("one two"))
    # Feature 2 has no peak, and fires on the second token of three as strongly as it does here;
    # feature 7 fires with 2.5 of its peak of 4 on the last, and comes after it.
    first, second = of_color(picture, ramp()[-1]), of_color(picture, shade(2.5 / 4))
    width = first[2] - first[0]
    assert width == 37
    assert (first[3] - first[1], second[3] - second[1]) == (21, 21)
    assert (second[0], second[1]) == (first[0] + 38, first[1] + 22)
    colored = pixels(picture.png)
    x, y = (round(SCALE * edge) for edge in first[:2])
    cell = np.s_[y : y + 21 * SCALE, x + 38 * SCALE : x + 75 * SCALE]
    assert (colored[cell] == WELL).all()  # feature 2 on the last token
    # The first token is special: hatched, and never shaded.
    cell = np.s_[y : y + 21 * SCALE, x - 38 * SCALE : x - SCALE]
    assert {tuple(color) for color in colored[cell].reshape(-1, 3)} == {WELL, LINE}


def test_a_text_that_is_too_wide_is_cut_and_says_so():
    long = " ".join(f"word{i}" for i in range(60))
    picture = Picture.of(heatmap(long))
    assert pixels(picture.png, picture.height).shape[1] == SCALE * 960
    assert of_color(picture, WELL)[2] <= 960
    assert "61 tokens" in picture.words


def test_the_selected_feature_is_marked_and_its_card_is_beside_the_cells():
    card = {"feature": 7, "label": "seven", "peak": 4.0, "density": 0.1, "histogram": [9, 4, 1]}
    lens = {"likely": [("·a", 0.5)], "unlikely": [("·b", -12.5)]}
    widget = heatmap("one two")
    widget._describe = lambda *_: [{**card, **lens}]
    before = Picture.of(widget)
    widget.selected, widget.token = 7, 2
    after = Picture.of(widget)
    assert WARM not in colors(before)
    marked = of_color(after, WARM)
    assert marked[3] - marked[1] >= 22
    # The title of the card: nothing dark is written there without one.
    beside = [pixels(p.png)[100 * SCALE : 160 * SCALE, 740 * SCALE :] for p in (before, after)]
    assert [(side == INK).all(-1).any() for side in beside] == [False, True]


def test_the_sort_and_the_hidden_features_are_those_of_the_widget():
    widget = heatmap("one two")
    top = of_color(Picture.of(widget), ramp()[-1])[1]  # of feature 2
    widget.sort, widget.token = "token", 2  # on which feature 7 fires
    assert of_color(Picture.of(widget), ramp()[-1])[1] == top + 22
    widget.dense = 0.05  # feature 7 fires on a tenth of all tokens
    rest = Picture.of(widget)
    assert of_color(rest, ramp()[-1])[1] == top
    with pytest.raises(ValueError, match="zero-size"):
        of_color(rest, shade(2.5 / 4))


def test_an_empty_heatmap_has_a_picture_too():
    picture = Picture.of(heatmap(""))
    assert picture.words == "An empty feature heatmap: no text has been read."
    pixels(picture.png, picture.height)


def test_a_heatmap_is_told_in_words():
    assert Picture.of(heatmap("one two")).words == (
        "Feature heatmap of “one two”: 3 tokens, on which 2 features fire. Strongest: "
        "2 at “one” (1.00); 7 seven at “two” (0.62 × peak). topk."
    )


# The steering panel


def test_a_steering_panel_is_told_in_words():
    faded = {"op": "set", "vector": [1.0, 2.0], "strength": -3, "unit": "raw", "on": False}
    panel = written([" a", " b\n"], [" c"], edits=[{**EDIT, "where": "last"}, faded], seed=3)
    assert Picture.of(panel).words == (
        "Steering panel. Prompt “So”, 40 tokens, temperature 0, seed 3. Edits: add 5 no name yet "
        "by 0.5 × peak (last); set a direction of 2 numbers by −3 raw (everywhere, off). "
        "Unsteered: “ a b↵”. Steered: “ c”."
    )


def test_the_picture_of_a_panel_grows_with_its_edits_and_marks_what_is_new():
    one = Picture.of(written([" a", " b"], [" a", " b"]))
    two = Picture.of(
        written([" a", " b"], [" a", " b"], edits=[EDIT, {"op": "ablate", "feature": 1}])
    )
    assert two.height == one.height + 39
    new = Picture.of(written([" a", " b"], [" a", " c"]))
    assert NEW not in colors(one)
    box = of_color(new, NEW)
    assert 480 < box[0] < box[2] < 560  # in the pane on the right, behind one word


def test_a_panel_that_has_not_written_has_a_picture_too():
    panel, _ = steering(edits=[EDIT, {"op": "scale", "feature": 2, "strength": 1.5}])
    assert Picture.of(panel).words.endswith(
        "Edits: add 5 no name yet by 0.5 × peak (everywhere); "
        "scale 2 no name yet by 1.5 × (everywhere)."
    )


def test_a_sweep_is_in_the_picture():
    arms = [
        {"factor": f, "control": c, "concept": v, "kl": k, "tokens": ["a"], "nll": 1.0}
        for f, c, v, k in [
            (0, "", 0.0, 0.0),
            (1, "", 2.0, 0.5),
            (2, "", None, 0.9),
            (2, "random", 0.5, None),
        ]
    ]
    panel = written([" a"], [" b"])
    before = Picture.of(panel)
    panel.swept = {
        "state": "done",
        "arms": arms,
        "safe": 1.0,
        "budget": 0.5,
        "request": panel.run["request"],
    }
    assert Picture.of(panel).height > before.height + 64


@pytest.mark.parametrize("name", [HOSTILE, "\ud800", "\n\t\x1b[31m", "ﷺ" * 40, ""])
def test_any_name_can_be_drawn(name):
    widget = heatmap(f"{name} two".strip())
    features = [{**feature, "label": name} for feature in widget.view["features"]]
    widget.view = {**widget.view, "features": features}
    assert Picture.of(widget).png.startswith(b"\x89PNG")
    assert Picture.of(written([name, name], [name])).png.startswith(b"\x89PNG")


# The training


def told(*lines, state="done", **run):
    """A training that has told these lines of the log."""

    def train(widget):
        widget.begin(0, [])
        for each in lines:
            widget.add(each)
        widget._step = int(lines[-1]["step"])
        widget.ended = state == "stopped"

    return training(train, **run)


def test_the_curves_of_a_training_are_where_its_figures_are():
    """The third chart: L0 of 1 and then 3 on an axis up to 4, over twelve steps."""
    widget = told(line(6, l0=1), line(12, l0=3))
    ink = (pixels(Picture.of(widget).png) == INK).all(-1)
    left, top, width = 12 + 2 * (221 + 17) + 38, 48 + 10 + 24, 221 - 38
    rows, columns = np.nonzero(ink[SCALE * (top - 4) : SCALE * (top + 80)][:, SCALE * left : -480])
    first, last = columns.argmin(), columns.argmax()
    assert columns[first] / SCALE == pytest.approx(width * 6 / 12, abs=1.5)
    assert rows[first] / SCALE - 4 == pytest.approx(76 * 3 / 4, abs=1.5)
    assert columns[last] / SCALE == pytest.approx(width + 3, abs=1.5)  # the end of the spot
    assert rows[last] / SCALE - 4 == pytest.approx(76 / 4, abs=2.5)


def test_one_feature_of_many_and_the_first_of_many_steps_are_drawn():
    widget = told(line(1, densities=[1, 0, 90_000]), steps=10_000)
    assert WARM in colors(Picture.of(widget))


def test_a_figure_that_is_none_breaks_a_curve_and_not_the_picture():
    whole, broken = (
        told(*(line(step, loss=loss if step == 6 else 1.0) for step in (3, 6, 9, 12)))
        for loss in (1.0, float("nan"))
    )
    inks = [(pixels(Picture.of(each).png) == INK).all(-1).sum() for each in (whole, broken)]
    assert inks[1] < inks[0]


def test_the_words_of_a_training_that_is_over_tell_its_last_figures():
    assert Picture.of(told(line(3), line(9, fvu=0.1234), state="stopped")).words == (
        "Training of the SAE mine: 12 steps of 8 vectors, stopped at step 9: loss 0.278, "
        "FVU 0.123, L0 4.25, dead 12 %, learning rate 2e−3, gradient 1.5."
    )


def test_the_picture_and_the_words_of_several_saes_tell_them_apart():
    widget = told(pair_line(6), pair_line(12), saes=PAIR)
    drawn = Picture.of(widget)
    assert {HUES[0], HUES[1]} <= colors(drawn)
    assert HUES[2] not in colors(drawn)
    assert drawn.words.startswith(
        "Training of 2 SAEs, mine, wide: 12 steps of 8 vectors, done at step 12: mine: loss 0.208, "
    )
    assert "; wide: loss 0.208, FVU 0.25, " in drawn.words
    widget.sae = "wide"
    assert Picture.of(widget).png != drawn.png


def test_the_words_of_one_that_goes_on_are_the_same_however_far_it_is():
    """They stay in the notebook, where nbval compares them."""
    heard = []

    def train(widget):
        for step in (3, 6):
            heard.append(Picture.of(widget).words)
            widget.begin(step, [line(step)])

    training(train)
    assert heard == ["Training of the SAE mine: 12 steps of 8 vectors."] * 2


@pytest.mark.parametrize(
    ("values", "wanted"),
    [([3, 17.2], [0, 10, 20]), ([0.0016], [0, 0.001, 0.002]), ([0, float("nan")], [0, 0.5, 1])],
)
def test_a_linear_axis_is_as_in_the_widget(values, wanted):
    assert linear(values).ticks == wanted


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.06, 0.9], [0.05, 0.1, 1]),
        ([3, 4], [2, 5]),
        ([1, 1], [1, 2]),
        ([0.001, 1000], [0.001, 0.1, 10, 1000]),
        ([], [0.1, 1]),
        ([0, -1, float("inf"), 30], [20, 50]),
    ],
)
def test_a_logarithmic_axis_is_as_in_the_widget(values, wanted):
    assert logarithmic(values).ticks == wanted


def test_figures_have_three_digits_or_a_power_of_ten():
    values = (0, 0.0673, 16.04, 151.7, 0.0016, 4.2e-11, float("inf"))
    wanted = ["0", "0.0673", "16", "152", "1.6e−3", "4.2e−11", "–"]
    assert [fine(value) for value in values] == wanted


# The twin in a notebook

CELLS = [
    f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from sae_widgets.share.twin import leave_twin
from test_share import written
from test_widgets import heatmap
heat = heatmap("one two", twin=leave_twin)
heat
""",
    "panel = written([' a', ' b'], [' a', ' <c>'], twin=leave_twin)\npanel",
    "heat.text = 'three four five'",
    "panel.close()",
    "panel.seed = 9",
    """
import time
from test_training_widget import Held
held = Held(twin=leave_twin)
held.widget
""",
    "held.let_go(); held.widget.result()",
]


@pytest.fixture(scope="module")
def executed():
    """A notebook that was executed and saved as nbconvert does it."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    notebook = nbformat.v4.new_notebook(cells=cells)
    return NotebookClient(notebook, timeout=120).execute()


def test_a_widget_leaves_words_and_a_picture_below_its_view(executed):
    for cell, says in zip(executed.cells, ["Heatmap(3 ", "Steering('So', 1 edit)"], strict=False):
        live, words, picture = cell.outputs
        assert set(live.data) == {VIEW, "text/plain"}
        assert live.data["text/plain"].startswith(says)
        assert set(words.data) == {"text/html", "text/plain"}
        assert set(picture.data) == {"image/png", "text/plain"}
        assert [part.metadata["sae_widgets"] for part in (words, picture)] == ["words", "picture"]
        assert picture.metadata["image/png"]["width"] == 960
    assert "Steered: “ a &lt;c&gt;”" in executed.cells[1].outputs[1].data["text/html"]
    plain = executed.cells[1].outputs[1].data["text/plain"].replace("\n", " ")
    assert "Steered: “ a <c>”" in plain


def test_the_picture_follows_the_widget_and_the_words_stay_those_of_the_cell(executed):
    _, words, picture = executed.cells[0].outputs
    assert "one two" in words.data["text/plain"]
    alt = picture.metadata["image/png"]["alt"]
    assert alt == Picture.of(heatmap("three four five")).words
    drawn = without_view(base64.b64decode(picture.data["image/png"]))
    assert drawn == Picture.of(heatmap("three four five")).png


def test_a_closed_widget_keeps_its_picture_and_changes_it_no_more(executed):
    assert executed.cells[4].outputs == []  # no error either
    assert "seed 0" in executed.cells[1].outputs[2].metadata["image/png"]["alt"]


def test_a_training_does_not_hold_up_its_cell_and_its_picture_becomes_that_of_its_end(executed):
    _, words, picture = executed.cells[5].outputs
    assert "12 steps of 8 vectors.\n" in words.data["text/plain"] + "\n"
    assert "done at step 12: loss 0.208" in picture.metadata["image/png"]["alt"]
    assert executed.cells[6].outputs[0].data["text/plain"] == "12"


def test_without_a_kernel_a_widget_leaves_nothing_but_its_view(capsys):
    heatmap("one two", twin=leave_twin)._ipython_display_()
    assert "image/png" not in capsys.readouterr().out


def test_a_picture_is_drawn_again_only_when_the_widget_has_come_to_rest(monkeypatch):
    from sae_widgets.share import twin as module

    shown = []

    class Handle:
        def update(self, data, **_):
            shown.append(data)

    class Events:
        def register(self, *_): ...
        def unregister(self, *_): ...

    class Shell:
        events = Events()
        get_parent = dict

    monkeypatch.setattr(module, "display", lambda *_, **__: Handle())
    monkeypatch.setattr(module, "REST", 0.2)
    widget = heatmap("one two")
    module.Twin(widget, Shell())
    end = time.monotonic() + 0.5
    while time.monotonic() < end:  # as a slider does
        widget.dense = 0.5 if widget.dense == 1 else 1.0
        time.sleep(0.02)
        assert shown == []
    widget.status = {**widget.status, "state": "working"}
    time.sleep(0.4)
    assert shown == []
    widget.status = {**widget.status, "state": "done"}
    end = time.monotonic() + 5
    while not shown:
        assert time.monotonic() < end
        time.sleep(0.01)
    time.sleep(0.3)
    assert len(shown) == 1
    widget.close()


def test_stock_html_shows_the_picture(executed):
    page, _ = HTMLExporter().from_notebook_node(executed)
    for cell in executed.cells[:2]:
        assert cell.outputs[2].data["image/png"].strip()[:400] in page
    assert page.count('width="960"') == 3


def test_stock_markdown_and_latex_have_the_picture_as_a_file(executed):
    for exporter, mention in ((MarkdownExporter(), "![png]({})"), (LatexExporter(), "{{{}}}")):
        text, resources = exporter.from_notebook_node(executed)
        assert len(resources["outputs"]) == 3
        for name in resources["outputs"]:
            assert mention.format(name) in text
        assert "data:image/png;base64,iVB" not in text
        assert "Feature heatmap of “one two”" in text.replace("\n", " ")


def test_a_sanitizer_that_leaves_only_text_and_pictures_leaves_the_twin(executed):
    """GitHub takes styles and scripts away with all that is in them, and most attributes."""
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(executed)
    page = re.sub(r"<(style|script)\b.*?</\1>", "", page, flags=re.S)
    page = re.sub(r' (?:class|style|id|data-[a-z-]+)="[^"]*"', "", page)
    assert page.count('src="data:image/png;base64,') == 3
    assert "When its cell had run: Feature heatmap of “one two”" in page
    assert "sae-twin" not in page


def test_the_notebooks_of_the_project_have_their_twins_and_they_are_small():
    views = 0
    for path in NOTEBOOKS.glob("*.ipynb"):
        scripts = 0
        for cell in nbformat.read(path, 4).cells:
            outputs = cell.get("outputs", [])
            for place, output in enumerate(outputs):
                if VIEW in output.get("data", {}):
                    views += 1
                    words, picture = outputs[place + 1 : place + 3]
                    assert words.metadata["sae_widgets"] == "words"
                    png = base64.b64decode(picture.data["image/png"])
                    assert len(without_view(png)) <= 60_000
                    # What is recorded may take more; the script, once a notebook, 45 kB.
                    assert view_in(png) is not None
                    script = b"saEs" in png
                    scripts += script
                    assert len(png) - len(without_view(png)) <= 50_000 + 50_000 * script
        assert scripts == 1
    assert views >= 3


# The page


def test_data_cannot_end_its_element_and_holds_what_widgets_share_once():
    features = [{"label": HOSTILE}, "é\ud800"]
    widgets = [
        Recorded("steering", {"features": features, "seed": 1}),
        Recorded("heatmap", {"value": b"\x00\xff</script>", "other": features}),
    ]
    text = data(widgets)
    assert "<" not in text
    assert text.isascii()
    assert text.count("onerror") == 1
    read = json.loads(text)
    values = read["values"]
    one, other = read["widgets"]
    assert values[one["traits"]["features"]] == features
    assert one["traits"]["features"] == other["traits"]["other"]
    assert other["bytes"] == ["value"]
    assert base64.b64decode(values[other["traits"]["value"]]) == b"\x00\xff</script>"


def test_only_our_widgets_are_recorded_and_only_what_they_show():
    state = {
        "_anywidget_id": "sae_widgets.widgets.heatmap.Heatmap",
        "_esm": "alert(1)",
        "layout": "IPY_MODEL_1",
        "text": "one",
    }
    assert Recorded.of(state) == Recorded("heatmap", {"text": "one"})
    assert Recorded.of({**state, "_anywidget_id": "constructor"}) is None
    assert Recorded.of({}) is None


def test_the_policy_allows_the_packages_script_and_no_other():
    digest = base64.b64encode(hashlib.sha256(script().encode()).digest()).decode()
    rules = dict(
        rule.strip().split(" ", 1)
        for rule in re.search('content="([^"]*)"', policy(["a{}"]))[1].split(";")
    )
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert "unsafe" not in rules["style-src"]
    assert "</script" not in script().lower()


def test_a_page_is_one_file_with_the_bundle_once(tmp_path):
    widgets = [heatmap("one two"), written([" a"], [" b"]), heatmap("three")]
    path = sw.save_html(widgets, tmp_path / "page.html", title="<b>")
    page = path.read_text(encoding="utf-8")
    assert page.count(script()) == 1
    assert "<title>&lt;b&gt;</title>" in page
    assert page.count("data-sae-view") - script().count("data-sae-view") == 3
    assert html.escape(Picture.of(widgets[1]).words) in page
    assert sw.save_html(widgets[0], tmp_path / "one.html").stat().st_size < len(page)


@pytest.mark.parametrize("name", ["\ud800", "a\x00\x1b[31m\x85b", "\ue000\u202e"])
def test_what_is_no_text_in_names_and_titles_is_written_as_a_mark(tmp_path, name):
    widget = heatmap("one two")
    features = [{**feature, "label": name} for feature in widget.view["features"]]
    widget.view = {**widget.view, "text": name, "features": features}
    page = sw.save_html(widget, tmp_path / "page.html", title=name).read_text(encoding="utf-8")
    words = Picture.of(widget).words
    assert "�" in words
    assert words.isprintable()
    assert re.search("<title>(.*)</title>", page)[1].isprintable()
    assert html.escape(words) in page


def test_what_is_no_widget_of_ours_is_refused(tmp_path):
    with pytest.raises(TypeError, match="got a str"):
        sw.save_html(["x"], tmp_path / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_an_exported_notebook_has_views_for_twins_and_no_other_script(executed):
    executed = nbformat.from_dict(json.loads(json.dumps(executed)))
    asks = "<script>alert(1)</script>ok<link href=x><meta http-equiv='refresh' content='0'>"
    bad = nbformat.v4.new_output("display_data", {"text/html": asks})
    executed.cells[2].outputs.append(bad)
    page, _ = SaeHTMLExporter().from_notebook_node(executed)
    assert re.findall(r'data-sae-view="(\d)"><img', page) == ["0", "1", "2"]
    assert page.count("<script") == 2
    assert page.count(script()) == 1
    assert "alert(1)" not in page
    assert page.count("http-equiv") == 1
    assert "<link" not in page
    assert "sae-twin" not in page
    assert page.index("Content-Security-Policy") < 300
    recorded = json.loads(re.search(r'<script type="application/json">(.*?)</script>', page)[1])
    assert [widget["name"] for widget in recorded["widgets"]] == ["heatmap", "steering", "training"]
    values, traits = recorded["values"], recorded["widgets"][0]["traits"]
    assert values[traits["text"]] == "three four five"
    assert base64.b64decode(values[traits["row"]]) == np.array([1, 0], "<u2").tobytes()
    assert executed.metadata.widgets[STATE]["state"]  # what was given is not changed


def test_a_notebook_that_the_exporter_itself_runs_has_live_widgets_too(executed):
    class Runs(Preprocessor):
        def preprocess(self, nb, resources):  # noqa: ARG002
            return nbformat.from_dict(json.loads(json.dumps(executed))), resources

    exporter = SaeHTMLExporter()
    exporter.register_preprocessor(Runs, enabled=True)
    page, _ = exporter.from_notebook_node(nbformat.v4.new_notebook())
    assert re.findall(r'data-sae-view="(\d)"><img', page) == ["0", "1", "2"]


def test_what_is_no_whole_page_is_refused_because_nothing_would_keep_it_from_the_network(executed):
    with pytest.raises(ValueError, match="use one that makes a whole page, such as 'lab'"):
        SaeHTMLExporter(template_name="basic").from_notebook_node(executed)


def test_odd_state_of_others_and_odd_markup_take_nothing_from_a_page(executed):
    odd = nbformat.from_dict(json.loads(json.dumps(executed)))
    states = odd.metadata.widgets[STATE]["state"]
    states["a"], states["b"] = {}, {"state": {}, "buffers": [{"path": ["x"], "data": "!"}]}
    odd.cells.insert(0, nbformat.v4.new_markdown_cell("before <!-- <script> --> kept </body>"))
    page, _ = SaeHTMLExporter().from_notebook_node(odd)
    assert "kept" in page
    assert page.index("kept") < page.index('data-sae-view="0"') < page.index(script())


def test_a_page_that_cannot_be_written_leaves_the_one_before(tmp_path, monkeypatch):
    path = sw.save_html(heatmap(), tmp_path / "page.html")
    before = path.read_bytes()

    def full(_):
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space left"):
        sw.save_html(steering()[0], path)
    assert path.read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["page.html"]


def bared(notebook):
    """A notebook whose pictures are pictures alone, and whose state was not saved."""
    bare = nbformat.from_dict(json.loads(json.dumps(notebook)))
    bare.metadata.pop("widgets", None)
    for cell in bare.cells:
        for output in cell.outputs:
            if output.get("metadata", {}).get(MARK) == "picture":
                png = without_view(base64.b64decode(output.data["image/png"]))
                output.data["image/png"] = base64.b64encode(png).decode()
    return bare


def test_a_notebook_of_which_neither_state_nor_widgets_were_saved_keeps_its_twins(executed):
    page, _ = SaeHTMLExporter().from_notebook_node(bared(executed))
    assert 'data-sae-view="' not in page
    assert page.count('src="data:image/png') == 3
    assert "Steering('So', 1 edit)" in page


@pytest.mark.parametrize(
    "widgets", [None, [], {STATE: {"state": None}}, {STATE: {"state": {"a": None, "b": [1]}}}]
)
def test_a_notebook_whose_widgets_are_odd_becomes_a_page_all_the_same(executed, widgets):
    odd = nbformat.from_dict(json.loads(json.dumps(executed)))
    odd.metadata["widgets"] = widgets
    for cell in odd.cells:
        for output in cell.get("outputs", []):
            if output.get("metadata", {}).get(MARK) == "picture":
                del output["data"]["image/png"]
    page, _ = SaeHTMLExporter().from_notebook_node(odd)
    assert "Steering('So', 1 edit)" in page


@pytest.mark.parametrize("told", [None, {}, {"alt": 3}, {"alt": "a", "width": math.inf}])
def test_a_picture_that_is_not_as_we_left_it_is_left_out_and_its_view_is_there(executed, told):
    odd = nbformat.from_dict(json.loads(json.dumps(executed)))
    parts = [output for cell in odd.cells for output in cell.get("outputs", ())]
    _, one, other = (part for part in parts if part.metadata.get(MARK) == "picture")
    one.metadata["image/png"] = told
    del other.data["image/png"]
    page, _ = SaeHTMLExporter().from_notebook_node(odd)
    assert re.findall(r'data-sae-view="(\d)">(<img)?', page) == [
        ("0", "<img"),
        ("1", ""),
        ("2", ""),
    ]
    assert "picture of the widget" not in page


@pytest.mark.parametrize("shown", [None, [], "x", {}, {"model_id": None}, {"model_id": ["a"]}])
def test_a_view_that_is_none_becomes_what_else_its_output_has(executed, shown):
    odd = nbformat.from_dict(json.loads(json.dumps(executed)))
    odd.cells[1].outputs[0].data[VIEW] = shown
    page, _ = SaeHTMLExporter().from_notebook_node(odd)
    assert re.findall(r'data-sae-view="(\d)"', page) == ["0", "1"]
    assert "Steering('So', 1 edit)" in page


def test_twenty_widgets_add_at_most_one_and_a_half_megabytes():
    """To what nbconvert makes of the same notebook, pictures and all, without their state."""
    source = nbformat.read(NOTEBOOKS / "quickstart.ipynb", 4)
    stored = source.metadata.widgets[STATE]["state"]
    states = {}
    many = nbformat.v4.new_notebook(metadata={"widgets": {STATE: {"state": states}}})
    live = [cell for cell in source.cells if VIEW in str(cell.get("outputs", ()))]
    for copy in range(10):
        for cell in live:
            cell = json.loads(json.dumps({**cell, "id": f"{cell.id}-{copy}"}))
            shown = cell["outputs"][0]["data"][VIEW]
            model = json.loads(json.dumps(stored[shown["model_id"]]))
            # Only what comes from the session is also what other widgets have.
            for trait in {"view", "card", "run", "effects"} & set(model["state"]):
                model["state"][trait]["copy"] = copy
            for buffer in model.get("buffers", ()):
                buffer["data"] = base64.b64encode(
                    base64.b64decode(buffer["data"]) + bytes([copy])
                ).decode()
            shown["model_id"] += str(copy)
            states[shown["model_id"]] = model
            many.cells.append(nbformat.from_dict(cell))
    many.metadata = nbformat.from_dict({"widgets": {STATE: {"state": states}}})
    ours, _ = SaeHTMLExporter().from_notebook_node(many)
    del many.metadata["widgets"]
    stock, _ = HTMLExporter().from_notebook_node(many)
    assert ours.count('data-sae-view="') == 20
    assert len(ours.encode()) - len(stock.encode()) <= 1_500_000


def test_the_exporter_loads_neither_torch_nor_pillow():
    """JupyterLab's server loads every exporter, to list it in a menu."""
    code = (
        "import sys, sae_widgets.share.exporter\n"
        "print(sorted({'torch', 'PIL', 'anywidget', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
