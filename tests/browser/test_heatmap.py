"""The heatmap in a real browser: the real Python widget and the real bundle."""

import threading

import numpy as np
import plausible
import pytest

from sae_widgets.widgets import FeatureRow, Heatmap, HeatmapView, Inline, Worker

TEXT = "Ahoy, the captain stirred the soup at dusk. Mira praised the salty waves."


def into(asked):
    return lambda feature, sae: asked.append((feature, sae))


def heatmap(text=TEXT, read=plausible.read, steer=None, worker=Inline):
    return Heatmap(read, plausible.describe, steer, saes=plausible.SAES, text=text, worker=worker)


def cell(root, row: int, column: int) -> dict[str, float]:
    """The middle of a cell, from the sizes that the drawing itself uses."""
    box = root.locator(".sae-score")
    sheet = root.locator(".sae-sheet").bounding_box()
    header = sheet["height"] - 6 - 22 * (int(box.get_attribute("aria-rowcount")) - 1)
    return {"x": 220 + 34 * column + 17, "y": header + 22 * row + 11}


def test_a_click_selects_feature_and_token_and_fills_the_card(bridge):
    widget = heatmap()
    root = bridge.show(widget)
    root.locator(".sae-score").click(position=cell(root, row=0, column=7))
    bridge.until(lambda: widget.selected is not None, "the click arrived")
    assert widget.selected == widget.view["features"][0]["feature"]
    assert widget.token == 7
    bridge.sees("makes likely")
    assert root.locator(".sae-card h4").inner_text() == widget.view["features"][0]["label"]


def test_hovering_tells_the_value_and_sends_nothing(bridge):
    widget = heatmap()
    root = bridge.show(widget)
    root.locator(".sae-score").hover(position=cell(root, row=0, column=7))
    tip = root.locator(".sae-tip")
    tip.get_by_text("× peak").wait_for()
    assert tip.inner_text().startswith("·soup")
    sent = bridge.page.evaluate("() => host.take()")
    assert [data for _, data in sent if data.get("content", {}).get("kind") != "ping"] == []


def test_a_double_click_steers(bridge):
    asked = []
    widget = heatmap(steer=into(asked))
    root = bridge.show(widget)
    root.locator(".sae-score").dblclick(position=cell(root, row=1, column=5))
    bridge.until(lambda: asked, "the feature was steered")
    assert asked == [(widget.view["features"][1]["feature"], widget.view["sae"])]


def test_a_double_click_steers_the_row_it_began_on_wherever_the_first_click_sorts_it(bridge):
    asked = []
    widget = heatmap(steer=into(asked))
    widget.sort = "token"
    widget.token = 3
    root = bridge.show(widget)
    soup = widget.view["tokens"].index("·soup")
    tip = root.locator(".sae-tip")
    rows = range(len(widget.view["features"]))
    for row in rows:  # the row of what fires on the soup, which is not the first as yet
        root.locator(".sae-score").hover(position=cell(root, row=row, column=soup))
        if "kitchen" in tip.inner_text():
            break
    assert row > 0
    root.locator(".sae-score").dblclick(position=cell(root, row=row, column=soup))
    bridge.until(lambda: asked, "the feature was steered")
    assert asked == [(57, "topk")]


def test_enter_reads_the_text_that_was_typed(bridge):
    widget = heatmap("")
    root = bridge.show(widget)
    root.get_by_label("text to read").fill("Mira smiled at dusk.")
    bridge.page.keyboard.press("Enter")
    bridge.until(lambda: widget.view.get("text") == "Mira smiled at dusk.", "it was read")
    bridge.sees("6 tokens")


def test_line_breaks_of_a_text_are_kept(bridge):
    widget = heatmap("Ahoy.\nMira")
    root = bridge.show(widget)
    root.get_by_label("text to read").press("Control+End")
    bridge.page.keyboard.press("Shift+Enter")
    bridge.page.keyboard.type("smiled")
    bridge.page.keyboard.press("Enter")
    bridge.until(lambda: widget.view["text"] == "Ahoy.\nMira\nsmiled", "it was read")


def test_the_example_of_an_empty_heatmap_can_be_clicked(bridge):
    widget = heatmap("")
    root = bridge.show(widget)
    root.locator(".sae-example").click()
    bridge.until(lambda: widget.view, "the example was read")
    bridge.sees("9 tokens")


def test_a_text_that_was_taken_away_leaves_the_example_and_not_a_lone_special_token(bridge):
    widget = heatmap(
        "Ahoy",
        read=lambda text, sae, check: HeatmapView(  # noqa: ARG005
            text, sae, ["⟨bos⟩", *text.split()], [], [], [], [], 0, special=[0]
        ),
    )
    root = bridge.show(widget)
    bridge.sees("2 tokens")
    root.get_by_label("text to read").fill("")
    bridge.page.keyboard.press("Enter")
    bridge.until(lambda: widget.view["text"] == "", "it was read")
    bridge.page.wait_for_selector(".sae-example")
    assert root.locator("canvas").count() == 0


def test_the_cells_that_fire_are_painted_and_the_others_are_not(bridge):
    row = FeatureRow(5, "five", 2.0, 0.1, 2.0, 2.0, 0.5)
    widget = heatmap(
        read=lambda text, sae, check: HeatmapView(  # noqa: ARG005
            text, sae, ["⟨bos⟩", "a", "b", "c"], [row], [0], [2], [2.0], 1, special=[0]
        )
    )
    root = bridge.show(widget)
    bridge.page.wait_for_timeout(100)
    colors = root.locator("canvas").evaluate(
        """(canvas) => {
          const g = canvas.getContext("2d"), ratio = canvas.width / canvas.clientWidth;
          const y = canvas.height - 6 * ratio - 11 * ratio;
          return [1, 2, 3].map((c) => {
            const x = (220 + 38 * c + 19) * ratio;
            return [...g.getImageData(x, y, 1, 1).data].slice(0, 3);
          });
        }"""
    )
    assert colors[0] == colors[2]
    assert min(colors[0]) > 235, "zero is the page"
    assert max(colors[1]) < 130, "the peak is dark"


def oklab(red: float, green: float, blue: float) -> tuple[float, float, float]:
    """Lightness, green to red, blue to yellow (Björn Ottosson, 2020) of an sRGB colour."""
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (red / 255, green / 255, blue / 255)
    ]
    cones = np.cbrt(
        np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        )
        @ linear
    )
    return tuple(
        np.array(
            [
                [0.2104542553, 0.7936177850, -0.0040720468],
                [1.9779984951, -2.4285922050, 0.4505937099],
                [0.0259040371, 0.7827717662, -0.8086757660],
            ]
        )
        @ cones
    )


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_ramp_leaves_the_page_in_even_steps_of_one_hue(bridge, theme):
    bridge.theme(theme)
    root = bridge.show(heatmap())
    bridge.until(lambda: root.get_attribute("data-theme") == theme, "the theme was seen")
    page, *stops = root.locator(".sae-ramp").evaluate(
        """(legend) => {
          const mixed = /color-mix\\((?:[^()]|\\([^()]*\\))*\\)/g;
          const colors = legend.style.background.match(mixed);
          const g = document.createElement("canvas").getContext("2d");
          return [colors[0].match(/, ((?:rgb|color)\\([^()]*\\))/)[1], ...colors].map((color) => {
            g.fillStyle = color;
            g.fillRect(0, 0, 1, 1);
            return [...g.getImageData(0, 0, 1, 1).data].slice(0, 3);
          });
        }"""
    )
    assert len(stops) == 9
    assert np.abs(np.subtract(stops[0], page)).max() <= 1, "zero is the page"
    lightness, a, b = np.array([oklab(*stop) for stop in stops]).T
    steps = np.diff(lightness)
    assert (np.abs(steps / steps.mean() - 1) < 0.15).all()
    assert abs(lightness[-1] - lightness[0]) > 0.55
    hue = np.unwrap(np.arctan2(b, a)[2:])
    assert np.ptp(hue) < np.deg2rad(12)


def test_arrows_move_and_enter_selects_and_what_is_spoken_is_the_cell(bridge):
    asked = []
    widget = heatmap(steer=into(asked))
    root = bridge.show(widget)
    grid = root.locator("[role=grid]")
    grid.focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "End", "ArrowLeft"):
        bridge.page.keyboard.press(key)
    spoken = root.locator("[role=gridcell]")
    feature = widget.view["features"][2]
    last = len(widget.view["tokens"]) - 2
    assert f"token {last} " in spoken.inner_text()
    assert f"feature {feature['feature']} {feature['label']}" in spoken.inner_text()
    assert grid.get_attribute("aria-activedescendant") == spoken.get_attribute("id")
    bridge.page.keyboard.press("Enter")
    bridge.until(lambda: widget.token == last, "Enter selected")
    assert widget.selected == feature["feature"]
    bridge.page.keyboard.press("Shift+Enter")
    bridge.until(lambda: asked == [(feature["feature"], widget.view["sae"])], "Shift+Enter steered")


def test_keys_stay_in_the_widget_except_escape_and_chords(bridge):
    root = bridge.show(heatmap())
    bridge.page.evaluate(
        """() => { window.heard = [];
          document.body.addEventListener("keydown", (e) => heard.push(e.key)); }"""
    )
    root.locator("[role=grid]").focus()
    for key in ("a", "b", "d", "Enter", "ArrowUp", "Escape", "Control+s"):
        bridge.page.keyboard.press(key)
    assert bridge.page.evaluate("heard.filter((key) => key !== 'Control')") == ["Escape", "s"]


def test_a_long_text_scrolls_inside_the_score_and_nowhere_else(bridge):
    bridge.page.set_viewport_size({"width": 400, "height": 800})
    root = bridge.show(heatmap(TEXT * 20))
    page = bridge.page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert page[0] <= page[1]
    frame = root.evaluate("(e) => [e.scrollWidth, e.clientWidth]")
    assert frame[0] == frame[1]
    inner = root.locator(".sae-score").evaluate("(e) => [e.scrollWidth, e.clientWidth]")
    assert inner[0] > inner[1]


def test_of_two_thousand_tokens_only_the_part_that_is_seen_is_drawn(bridge):
    tokens = [f"·t{i}" for i in range(2048)]
    rows = [FeatureRow(i, f"feature {i}", 1.0, 0.01, 1.0, 0.5, 0.1) for i in range(200)]
    cells = [(r, c, (r * c % 97) / 97) for r in range(200) for c in range(r % 7, 2048, 7)]
    row, column, value = map(np.array, zip(*cells, strict=True))
    view = HeatmapView("x", "topk", tokens, rows, row, column, value, 200)
    root = bridge.show(heatmap(read=lambda *_: view))
    box, canvas = root.locator(".sae-score"), root.locator("canvas")
    assert box.evaluate("(box) => box.scrollWidth") > 20_000
    assert canvas.evaluate("(c) => c.clientWidth") < 1200
    before = canvas.evaluate("(c) => c.toDataURL()")
    box.evaluate("(box) => box.scrollTo(9_000, 2_000)")
    bridge.until(lambda: canvas.evaluate("(c) => c.toDataURL()") != before, "it was drawn again")


def test_the_theme_is_followed_when_it_changes(bridge):
    root = bridge.show(heatmap())
    assert root.get_attribute("data-theme") == "light"
    bridge.theme("dark")
    bridge.until(lambda: root.get_attribute("data-theme") == "dark", "the theme was seen")


def test_a_placebo_is_named_and_badged(bridge):
    widget = heatmap()
    root = bridge.show(widget)
    root.locator("select").first.select_option("frozen")
    bridge.until(lambda: widget.view["sae"] == "frozen", "it was read with the placebo")
    badge = root.locator(".sae-badge")
    bridge.until(badge.is_visible, "the badge shows")
    assert "never trained" in badge.get_attribute("title")
    assert "(placebo)" in root.locator("select option", has_text="frozen").inner_text()


def test_the_old_result_stays_greyed_while_a_new_one_is_made(bridge):
    go_on = threading.Event()

    def slow(text, sae, check):
        if text != TEXT:
            go_on.wait(30)
        return plausible.read(text, sae, check)

    widget = heatmap(read=slow, worker=Worker)
    root = bridge.show(widget)
    root.get_by_label("text to read").fill("Ahoy.")
    bridge.page.keyboard.press("Enter")
    bridge.sees("reading …")
    assert root.locator(".sae-stage.sae-old canvas").is_visible()
    go_on.set()
    bridge.until(lambda: widget.view["text"] == "Ahoy.", "it was read")
    bridge.sees("3 tokens")
    assert root.locator(".sae-old").count() == 0


def test_what_was_typed_to_a_silent_kernel_is_read_when_it_answers(bridge):
    widget = heatmap()
    root = bridge.show(widget)
    bridge.die()
    root.get_by_text("No answer from the kernel").wait_for(timeout=20_000)
    root.get_by_label("text to read").fill("Ahoy.")
    bridge.page.keyboard.press("Enter")
    bridge.dead = False
    bridge.until(lambda: widget.view["text"] == "Ahoy.", "it was read")


def test_an_error_is_said_in_place_and_the_next_text_clears_it(bridge):
    def read(text, sae, check):
        if text == "bad":
            raise ValueError("this text is bad")
        return plausible.read(text, sae, check)

    root = bridge.show(heatmap(read=read))
    box = root.get_by_label("text to read")
    box.fill("bad")
    box.press("Enter")
    bridge.sees("this text is bad")
    box.fill("Ahoy.")
    box.press("Enter")
    bridge.until(lambda: root.locator(".sae-trouble").count() == 0, "the error went away")


def test_a_silent_kernel_is_said_within_two_seconds_and_comes_back(bridge):
    root = bridge.show(heatmap())
    bridge.die()
    root.get_by_text("No answer from the kernel").wait_for(timeout=20_000)
    assert root.get_by_role("button", name="Read").is_disabled()
    bridge.dead = False
    bridge.until(lambda: root.get_by_text("No answer from the kernel").count() == 0, "it came back")
    assert root.get_by_role("button", name="Read").is_enabled()


@pytest.mark.parametrize("shadow", [False, True])
def test_it_works_in_a_shadow_root_and_leaves_nothing_behind(bridge, shadow):
    widget = heatmap()
    root = bridge.show(widget, shadow=shadow)
    root.locator(".sae-score").click(position=cell(root, row=0, column=3))
    bridge.until(lambda: widget.token == 3, "the click arrived")
    assert bridge.page.evaluate("(id) => host.close(id)", widget.model_id) == 0
    assert bridge.page.evaluate("(id) => host.listeners(id)", widget.model_id) == 0


def test_two_heatmaps_on_one_page_do_not_disturb_each_other(bridge):
    first, second = heatmap(), heatmap("Mira smiled.")
    bridge.show(first)
    root = bridge.show(second)
    root.locator(".sae-score").click(position={"x": 30, "y": 120})
    bridge.until(lambda: second.selected is not None, "the click arrived")
    assert first.selected is None
