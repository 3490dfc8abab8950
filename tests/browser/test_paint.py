"""Painting on a heatmap, and dragging from it, in a real browser with a real session behind."""

import pytest
import tiny

import sae_widgets as sw

TEXT = "xqzvkw"  # a special token is put in front, and each letter is a token
PLACES = len(TEXT) + 1
NAMES, COLUMN, ROW = 220, 38, 22  # of so short a text


@pytest.fixture
def session(model):
    return sw.Session(model, tiny.make_sae(), labels={"signed": {9: "the ninth"}}, sample=None)


def heatmap_of(session, text=TEXT):
    heatmap = session.heatmap(text)
    heatmap.sort = "index"
    return heatmap


def shown(bridge, *widgets, shadow=False):
    """The widgets on one page, each as a locator that stays with it."""
    for widget in widgets:
        bridge.show(widget, shadow=shadow)
    return [bridge.page.locator(".sae-root").nth(i) for i in range(len(widgets))]


def place(root, row: int, column: int | None) -> tuple[float, float]:
    """The middle of a cell on the page; of a name where there is no column."""
    rows = int(root.locator("[role=grid]").get_attribute("aria-rowcount")) - 1
    sheet = root.locator(".sae-sheet").bounding_box()
    x = 60 if column is None else NAMES + COLUMN * (column + 0.5)
    return sheet["x"] + x, sheet["y"] + sheet["height"] - 6 - ROW * (rows - row - 0.5)


def stroke(bridge, root, row, columns, button="left"):
    mouse = bridge.page.mouse
    mouse.move(*place(root, row, columns[0]))
    mouse.down(button=button)
    for column in columns[1:]:
        mouse.move(*place(root, row, column))
    mouse.up(button=button)


def feature_of(heatmap, row: int) -> int:
    return sorted(each["feature"] for each in heatmap.view["features"])[row]


def color_at(root, row: int, column: int, dx: float = 0, dy: float = 0) -> list[int]:
    x, y = place(root, row, column)
    box = root.locator("canvas").bounding_box()
    return root.locator("canvas").evaluate(
        """(canvas, [x, y]) => {
          const ratio = canvas.width / canvas.clientWidth;
          const g = canvas.getContext("2d");
          return [...g.getImageData(x * ratio, y * ratio, 1, 1).data].slice(0, 3);
        }""",
        [x + dx - box["x"], y + dy - box["y"]],
    )


def warm(root) -> list[int]:
    """The colour of what a person has changed."""
    return root.evaluate(
        """(root) => {
          const g = document.createElement("canvas").getContext("2d");
          g.fillStyle = getComputedStyle(root).getPropertyValue("--sae-warm");
          g.fillRect(0, 0, 1, 1);
          return [...g.getImageData(0, 0, 1, 1).data].slice(0, 3);
        }"""
    )


def painted(feature: int, *values: float) -> sw.Add:
    """The largest of the values is the strength, and the place begins at the first that is any."""
    first, top = next(i for i, value in enumerate(values) if value), max(values)
    where, shares = sw.Span(first, len(values)), [value / top for value in values[first:]]
    return sw.Add(feature, top, where=where, schedule=sw.Values(shares), sae="signed")


def test_a_stroke_along_a_row_is_an_edit_and_the_panel_follows(bridge, session):
    heatmap, panel = heatmap_of(session), session.steer()
    root, steering = shown(bridge, heatmap, panel)
    root.get_by_role("button", name="paint").click()
    stroke(bridge, root, 1, [2, 5])  # so fast that the pointer was seen nowhere in between
    made = painted(feature_of(heatmap, 1), 0, 0, 0.5, 0.5, 0.5, 0.5)
    bridge.until(lambda: session.edits == (made,), "the stroke is an edit")
    assert steering.locator(".sae-edit").count() == 1
    assert steering.get_by_label("schedule").input_value() == "painted"
    assert "painted on 4 tokens" in steering.get_by_label("schedule").get_attribute("title")
    assert color_at(root, 1, 4, dy=8) == warm(root)
    assert color_at(root, 1, 6, dy=8) != warm(root)
    assert (heatmap.selected, heatmap.token) == (None, None), "nothing was clicked"

    root.get_by_label("brush").fill("1.5")
    stroke(bridge, root, 1, [6, 5, 0])  # the special token in front is passed over
    made = painted(feature_of(heatmap, 1), 0, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5)
    bridge.until(lambda: session.edits == (made,), "the edit is changed in place")


@pytest.mark.parametrize("with_", ["the right button", "Alt", "a brush of nothing"])
def test_a_stroke_erases(bridge, session, with_):
    heatmap = heatmap_of(session)
    feature = feature_of(heatmap, 0)
    session.paint(feature, [0, 1, 1, 1])
    [root] = shown(bridge, heatmap)
    root.get_by_role("button", name="paint").click()
    bridge.page.evaluate(
        """() => { window.menus = 0;
          document.addEventListener("contextmenu", () => { menus += 1; }); }"""
    )
    if with_ == "a brush of nothing":
        root.get_by_label("brush").fill("0")
    if with_ == "Alt":
        bridge.page.keyboard.down("Alt")
    stroke(bridge, root, 0, [3, 2], button="right" if with_ == "the right button" else "left")
    bridge.page.keyboard.up("Alt")
    bridge.until(lambda: session.edits == (painted(feature, 0, 1),), "two tokens are erased")
    stroke(bridge, root, 0, [2, 1], button="right")
    bridge.until(lambda: session.edits == (), "with the last of them the edit is gone")
    assert bridge.page.evaluate("menus") == 0, "the notebook's own menu stayed away"


def test_it_is_painted_from_the_keyboard_and_what_is_spoken_is_what_is_painted(bridge, session):
    heatmap = heatmap_of(session)
    [root] = shown(bridge, heatmap)
    root.locator("[role=grid]").focus()
    for key in ("p", "ArrowDown", "ArrowRight", " ", "ArrowRight", "]", "]", " "):
        bridge.page.keyboard.press(key)
    feature = feature_of(heatmap, 1)
    made = painted(feature, 0, 0.5, 0.6)
    bridge.until(lambda: session.edits == (made,), "two tokens are painted")
    cell = root.locator("[role=gridcell]")
    assert cell.inner_text().endswith("painted: 0.60 × peak")
    assert root.get_by_label("brush").input_value() == "0.6"
    bridge.page.keyboard.press("Backspace")
    bridge.until(lambda: session.edits == (painted(feature, 0, 0.5),), "one is erased")
    assert "painted" not in cell.inner_text()
    bridge.page.keyboard.press("Escape")
    assert root.get_by_role("button", name="paint").get_attribute("aria-pressed") == "false"
    bridge.page.keyboard.press(" ")
    stroke(bridge, root, 0, [2, 4])
    bridge.pump()
    assert session.edits == (painted(feature, 0, 0.5),), "nothing is painted any more"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_is_painted_stands_out_from_every_shade_and_follows_the_session(
    bridge, session, theme
):
    bridge.theme(theme)
    heatmap, panel = heatmap_of(session), session.steer()
    root, steering = shown(bridge, heatmap, panel)
    bridge.until(lambda: root.get_attribute("data-theme") == theme, "the theme was seen")
    cells = [(r, c) for r in range(4) for c in range(1, PLACES)]
    zero = sum(color_at(root, 0, 0))
    row, column = max(cells, key=lambda at: abs(sum(color_at(root, *at)) - zero))
    shade, page = color_at(root, row, column), [255 if theme == "light" else 33] * 3
    session.paint(feature_of(heatmap, row), [0] * column + [1.5])
    bridge.until(lambda: color_at(root, row, column, dy=6) == warm(root), "the bar stands there")
    assert color_at(root, row, column, dx=-16) == shade, "beside it the cell is as it was"
    left = [color_at(root, row, column, dx=dx) for dx in (-13, -12, -11, -10)]
    assert page in left, "and a rim of the page parts them"
    steering.locator(".sae-slider").press("Home")  # pushes down now, from the top of the cell
    bridge.until(lambda: color_at(root, row, column, dy=-8) == warm(root), "the bar hangs")
    bridge.page.wait_for_timeout(650)  # what follows closely is one step to the history
    steering.locator(".sae-remove").click()
    bridge.until(lambda: color_at(root, row, column) == shade, "it is gone with its edit")
    steering.get_by_role("button", name="undo").click()
    bridge.until(lambda: color_at(root, row, column) == warm(root), "and undone")


def test_a_stroke_leads_on_beyond_the_edge_of_the_window(bridge, session):
    bridge.page.set_viewport_size({"width": 500, "height": 700})
    heatmap = heatmap_of(session, TEXT * 6)
    [root] = shown(bridge, heatmap)
    root.get_by_role("button", name="paint").click()
    score = root.locator(".sae-score")
    box = score.bounding_box()
    y = place(root, 0, 1)[1]
    bridge.page.mouse.move(box["x"] + box["width"] - 30, y)
    bridge.page.mouse.down()
    for _ in range(40):
        bridge.page.mouse.move(box["x"] + box["width"] + 40, y)
        bridge.page.mouse.move(box["x"] + box["width"] + 41, y)
    bridge.page.mouse.up()
    last = len(heatmap.view["tokens"]) - 1
    bridge.until(
        lambda: session.edits and session.edits[0].where.stop == last + 1,
        "the last token is painted",
    )
    assert score.evaluate("(box) => box.scrollLeft") > 0


def test_a_stroke_that_the_kernel_refuses_is_taken_back_and_said(bridge, session):
    heatmap = heatmap_of(session)
    [root] = shown(bridge, heatmap)
    heatmap._paint = lambda *_: session.paint(99, [1])
    root.get_by_role("button", name="paint").click()
    stroke(bridge, root, 1, [2, 5])
    bridge.sees("no feature 99")
    bridge.page.wait_for_timeout(100)
    assert color_at(root, 1, 4, dy=8) != warm(root)


# Dragging


def carry(bridge, start, end) -> None:
    mouse = bridge.page.mouse
    mouse.move(*start)
    mouse.down()
    mouse.move(start[0] + 12, start[1] + 4)
    mouse.move(*end)
    mouse.move(end[0] + 2, end[1])


def middle(locator) -> tuple[float, float]:
    box = locator.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("shadow", [False, True])
def test_a_name_dragged_into_a_panel_is_steered_there(bridge, session, shadow):
    heatmap, panel = heatmap_of(session), session.steer()
    root, steering = shown(bridge, heatmap, panel, shadow=shadow)
    bridge.page.evaluate(
        """() => { window.heard = [];
          for (const type of ["dragstart", "dragover", "drop"]) {
            document.addEventListener(type, () => heard.push(type));
          } }"""
    )
    feature = feature_of(heatmap, 2)
    for _ in range(2):  # the second time it is there already
        carry(bridge, place(root, 2, None), middle(steering.locator(".sae-adding")))
        assert steering.locator(".sae-dropping").count() == 1
        bridge.page.mouse.up()
        bridge.until(lambda: session.selected == feature, "it is selected")
        bridge.until(lambda: session.edits, "it is steered")
        assert session.edits == (session.recommended(feature),)
        assert steering.locator(".sae-dropping").count() == 0
        session.selected = None
    assert bridge.page.evaluate("heard") == [], "the notebook was not asked"


def test_a_drag_that_begins_on_a_cell_or_ends_elsewhere_does_nothing(bridge, session):
    heatmap, panel = heatmap_of(session), session.steer()
    root, steering = shown(bridge, heatmap, panel)
    adding = middle(steering.locator(".sae-adding"))
    carry(bridge, place(root, 2, 3), adding)
    assert steering.locator(".sae-dropping").count() == 0
    bridge.page.mouse.up()
    carry(bridge, place(root, 2, None), adding)
    bridge.page.mouse.move(*middle(root.get_by_role("button", name="Read")))
    assert steering.locator(".sae-dropping").count() == 0, "it has left the panel"
    bridge.page.mouse.up()
    bridge.pump()
    assert (session.edits, session.selected) == ((), None)


def test_what_is_no_feature_of_the_session_cannot_be_dropped(bridge, session):
    panel = session.steer()
    [steering] = shown(bridge, panel)
    drop = """(root, [kind, data]) => {
      const carried = new DataTransfer();
      carried.setData(kind, data);
      const options = { dataTransfer: carried, bubbles: true, cancelable: true };
      const event = new DragEvent("drop", options);
      root.querySelector(".sae-adding").dispatchEvent(event);
      return event.defaultPrevented;
    }"""
    ours = "application/x-sae-feature"
    for data in ("{", '{"sae": "signed", "feature": 32}', '{"sae": "mine", "feature": 3}'):
        assert steering.evaluate(drop, [ours, data]), "it is taken from the notebook"
    assert not steering.evaluate(drop, ["text/plain", '{"sae": "signed", "feature": 3}'])
    bridge.pump()
    assert session.edits == ()
    steering.evaluate(drop, [ours, '{"sae": "signed", "feature": 31}'])
    bridge.until(lambda: session.edits == (session.recommended(31),), "that one is there")
