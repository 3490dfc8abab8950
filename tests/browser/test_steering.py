"""The steering panel in a real browser: the real Python widget and the real bundle."""

import threading
import time

import plausible

from sae_widgets.widgets import Heatmap, Inline, Steering, Worker

SEA = {"op": "add", "feature": 131, "strength": 0.3, "unit": "peak", "where": "all", "sae": "topk"}


def steering(run=plausible.run, prompt="The captain opened the", edits=(SEA,), worker=Inline, **k):
    return Steering(
        run,
        plausible.measure,
        plausible.sweep,
        estimate=plausible.estimate,
        record=plausible.record,
        saes=plausible.SAES,
        features=plausible.FEATURES,
        prompt=prompt,
        edits=edits,
        worker=worker,
        **k,
    )


def test_the_effects_of_the_edits_stand_below_the_texts(bridge):
    widget = steering()
    root = bridge.show(widget)
    assert root.locator(".sae-kl").count() == len(widget.effects["tokens"])
    assert root.locator(".sae-kl").nth(5).get_attribute("title").count("·harbor +31 %") == 1
    root.get_by_role("button", name="pirate register").click()
    bridge.until(lambda: widget.selected == 204, "the feature that moved is selected")
    root.get_by_role("button", name="receipt").click()
    assert "value 0.2 → 3.05" in root.locator(".sae-drawer").inner_text()


def test_a_sweep_shows_the_text_of_each_strength_under_the_pointer(bridge):
    widget = steering()
    root = bridge.show(widget)
    root.get_by_role("button", name="sweep").click()
    bridge.until(lambda: widget.swept.get("state") == "done", "it was swept")
    plot = root.locator(".sae-plot")
    box = plot.bounding_box()
    plot.hover(position={"x": 2, "y": box["height"] / 2})
    steered = root.locator(".sae-pane p").nth(1)
    assert steered.inner_text().startswith("The captain opened the oven")
    plot.hover(position={"x": box["width"] - 2, "y": box["height"] / 2})
    assert steered.inner_text().startswith("The captain opened the harbor")
    plot.click(position={"x": box["width"] / 2, "y": box["height"] / 2})
    bridge.until(lambda: widget.edits[0]["strength"] == 0.3, "the strength in the middle is taken")


def slow(request, check, on_tokens):
    return plausible.run(request, check, on_tokens, pause=0.02)


def very_slow(request, check, on_tokens):
    return plausible.run(request, check, on_tokens, pause=0.3)


def test_both_texts_stand_side_by_side_with_the_place_where_they_part(bridge):
    root = bridge.show(steering())
    panes = root.locator(".sae-pane p")
    assert panes.nth(0).inner_text().startswith("The captain opened the oven")
    assert panes.nth(1).inner_text().startswith("The captain opened the harbor")
    assert root.locator(".sae-fork").count() == 2
    assert "harbor" in root.locator(".sae-moved").first.inner_text()
    assert "applied at 4 + 26 of 30 positions" in root.locator(".sae-foot").inner_text()


def test_a_drag_changes_the_strength_and_runs_again_while_it_lasts(bridge):
    asked = []

    def run(request, check, on_tokens):
        asked.append(request["edits"][0]["strength"])
        return plausible.run(request, check, on_tokens)

    widget = steering(run)
    root = bridge.show(widget)
    rail = root.locator(".sae-rail").bounding_box()
    middle, height = rail["x"] + rail["width"] / 2, root.locator(".sae-slider").bounding_box()
    bridge.page.mouse.move(middle, height["y"] + 3)  # the edge of the row will do
    bridge.page.mouse.down()
    for step in range(1, 11):
        bridge.page.mouse.move(middle + step * rail["width"] / 24, height["y"] + 3)
        bridge.pump()
        bridge.page.wait_for_timeout(20)
    bridge.page.mouse.up()
    bridge.until(lambda: widget.edits[0]["strength"] == 1.0, "the last value arrived")
    bridge.until(lambda: asked[-1] == 1.0, "the last value was run")
    assert len(asked) > 2, "it ran during the drag"


def test_arrows_nudge_and_a_double_click_resets(bridge):
    widget = steering()
    root = bridge.show(widget)
    slider = root.get_by_role("slider")
    slider.press("ArrowRight")
    slider.press("Shift+ArrowRight")
    bridge.until(lambda: widget.edits[0]["strength"] == 0.41, "two nudges arrived")
    slider.dblclick(position={"x": 30, "y": 10})
    bridge.until(lambda: widget.edits[0]["strength"] == 0.48, "it was reset")


def test_a_feature_is_found_by_its_name_and_added(bridge):
    widget = steering(edits=())
    root = bridge.show(widget)
    root.get_by_label("add a feature").fill("kitch")
    bridge.page.keyboard.press("Enter")
    bridge.until(lambda: widget.edits, "it was added")
    assert (widget.edits[0]["feature"], widget.edits[0]["sae"]) == (57, "topk")
    bridge.until(lambda: widget.run["request"]["edits"], "it was run")


def test_a_feature_is_added_by_a_click_on_it(bridge):
    widget = steering(edits=())
    root = bridge.show(widget)
    root.get_by_label("add a feature").fill("s")
    option = root.get_by_role("listbox", name="features").get_by_role("option").nth(1)
    name = option.locator(".sae-grow").inner_text()
    option.click()
    bridge.until(lambda: widget.edits, "it was added")
    chosen = next(f for f in plausible.FEATURES if f["label"] == name)
    assert widget.edits[0]["feature"] == chosen["feature"]


def test_the_list_of_features_is_not_cut_off_by_the_cell_it_hangs_out_of(bridge):
    root = bridge.show(steering(edits=()))
    cell = root.locator("xpath=../..")
    cell.evaluate("(cell) => { cell.style.overflow = 'hidden'; cell.style.height = '150px'; }")
    root.get_by_label("add a feature").click()
    options = root.get_by_role("option")
    options.first.wait_for()
    hit = """(option) => {
      const { left, top, height } = option.getBoundingClientRect();
      return option.contains(document.elementFromPoint(left + 20, top + height / 2));
    }"""
    assert options.nth(5).evaluate(hit)
    assert options.nth(5).bounding_box()["y"] > cell.bounding_box()["y"] + 150


def test_the_name_of_an_edit_chooses_its_sae_too(bridge):
    widget = steering(edits=[{**SEA, "sae": "frozen"}])
    root = bridge.show(widget)
    root.locator(".sae-name").click()
    bridge.until(lambda: (widget.sae, widget.selected) == ("frozen", 131), "both were chosen")


def test_the_track_stays_while_a_value_beyond_its_reach_is_dragged(bridge):
    widget = steering(edits=[{**SEA, "strength": 4.0}])
    root = bridge.show(widget)
    slider = root.get_by_role("slider")
    rail = root.locator(".sae-rail").bounding_box()
    y = rail["y"] + rail["height"] / 2
    bridge.page.mouse.move(rail["x"] + rail["width"], y)
    bridge.page.mouse.down()
    for share in (0.9, 0.8, 0.75):
        bridge.page.mouse.move(rail["x"] + rail["width"] * share, y)
        bridge.pump()
    bridge.until(lambda: widget.edits[0]["strength"] == 2.0, "halfway from zero is half of it")
    assert slider.get_attribute("aria-valuemax") == "4"
    bridge.page.mouse.up()
    bridge.until(lambda: slider.get_attribute("aria-valuemax") == "2", "then the ends follow")


def test_an_operation_a_place_and_the_switch_reach_python(bridge):
    widget = steering()
    root = bridge.show(widget)
    root.get_by_label("operation").select_option("ablate")
    root.get_by_label("where").select_option("generated")
    root.locator(".sae-dot").click()
    bridge.until(lambda: widget.edits[0].get("on") is False, "all arrived")
    assert widget.edits[0]["op"] == "ablate"
    assert "strength" not in widget.edits[0]
    assert widget.edits[0]["where"] == "generated"
    root.locator(".sae-remove").click()
    bridge.until(lambda: widget.edits == [], "it was removed")
    root.get_by_role("button", name="undo").click()
    bridge.until(lambda: len(widget.edits) == 1, "it came back")


def test_a_unit_changes_and_the_push_stays(bridge):
    widget = steering()
    root = bridge.show(widget)
    root.get_by_label("unit").select_option("raw")
    bridge.until(lambda: widget.edits[0]["unit"] == "raw", "it arrived")
    assert abs(widget.edits[0]["strength"] - 0.3 * 6.42) < 1e-9


def test_a_change_is_undone_and_done_again_by_one_press_each(bridge):
    widget = steering()
    root = bridge.show(widget)
    root.locator(".sae-dot").click()
    bridge.until(lambda: widget.edits[0].get("on") is False, "it was turned off")
    root.get_by_role("button", name="undo").click()
    bridge.until(lambda: widget.edits[0].get("on", True), "it is on again")
    root.get_by_role("button", name="redo").click()
    bridge.until(lambda: widget.edits[0].get("on") is False, "it is off again")


def test_tokens_stream_in_and_stop_stops(bridge):
    widget = steering(very_slow, worker=Worker)
    root = bridge.show(widget)
    pane = root.locator(".sae-pane p").nth(1)
    bridge.until(lambda: "harbor" in pane.inner_text(), "the first token shows")
    assert not widget.run, "it shows before the run has ended"
    root.get_by_role("button", name="Stop").click()
    bridge.until(lambda: widget.run.get("ended") == "stopped", "it stopped")
    bridge.sees("stopped after")
    assert "harbor" in pane.inner_text(), "what was written stays"


def test_of_a_drag_over_a_slow_model_the_last_value_wins(bridge):
    widget = steering(slow, worker=Worker)
    root = bridge.show(widget)
    slider = root.get_by_role("slider")
    for _ in range(15):
        slider.press("ArrowRight")
        bridge.pump()
    bridge.until(
        lambda: widget.run.get("request", {}).get("edits", [{}])[0].get("strength") == 0.45,
        "the last strength was run",
    )
    bridge.until(lambda: widget.status["state"] == "done", "it is done")
    bridge.pump()
    assert root.locator(".sae-old, .sae-tail").count() == 0


def test_the_first_steered_token_shows_soon_after_a_slider_moves(bridge):
    def run(request, check, on_tokens):
        first = request["edits"] == [SEA]
        return (plausible.run if first else very_slow)(request, check, on_tokens)

    widget = steering(run)
    root = bridge.show(widget)
    widget._executor = Worker(widget._show_status)
    start = time.monotonic()
    root.get_by_role("slider").press("ArrowRight")
    tail = root.locator(".sae-tail")
    bridge.until(lambda: tail.count() > 0, "a token of the new run stands before the old tail")
    assert time.monotonic() - start < 2, "the budget is 0.3 s; a loaded machine gets 2"
    widget.stop = widget.status["id"]


def test_a_placebo_is_badged_and_python_can_set_what_the_mouse_can(bridge):
    widget = steering()
    root = bridge.show(widget)
    widget.edits = [{**SEA, "sae": "frozen", "strength": -0.25}]
    bridge.pump()
    assert root.locator(".sae-badge").inner_text() == "placebo"
    assert root.get_by_role("slider").get_attribute("aria-valuenow") == "-0.25"
    assert root.locator(".sae-edit").get_attribute("data-push") == "down"


def test_an_error_keeps_the_old_texts(bridge):
    def run(request, check, on_tokens):
        if request["length"] == 7:
            raise ValueError("the prompt is too long")
        return plausible.run(request, check, on_tokens)

    widget = steering(run)
    root = bridge.show(widget)
    box = root.get_by_label("tokens to write")
    box.fill("7")
    box.press("Enter")
    bridge.sees("the prompt is too long")
    assert "harbor" in root.locator(".sae-pane.sae-old").last.inner_text()


def test_without_edits_both_texts_are_the_same_and_it_is_said(bridge):
    root = bridge.show(steering(edits=()))
    assert "the same text" in root.locator(".sae-pane").nth(1).inner_text()
    assert "no edits" in root.locator(".sae-foot").inner_text()


def test_an_empty_prompt_offers_an_example(bridge):
    widget = steering(prompt="")
    root = bridge.show(widget)
    root.locator(".sae-example").click()
    bridge.until(lambda: widget.run, "it ran")
    bridge.sees("nats/token")


def test_nothing_scrolls_sideways_at_any_width(bridge):
    bridge.show(steering(edits=[SEA, {"op": "ablate", "feature": 57, "sae": "frozen"}]))
    for width in (1100, 720, 600, 480, 400, 320):
        bridge.page.set_viewport_size({"width": width, "height": 700})
        inner = bridge.page.evaluate("document.documentElement.scrollWidth")
        assert inner <= width, f"at {width} px the page is {inner} px wide"


def test_both_widgets_on_a_page_look_the_same_whichever_style_comes_last(bridge):
    look = """(root) => [root, ...root.querySelectorAll("*")].map((e) => {
      const style = getComputedStyle(e);
      return e.className + "|" + [...style].map((p) => `${p}: ${style.getPropertyValue(p)}`).join();
    })"""
    bridge.page.set_viewport_size({"width": 1120, "height": 3000})
    first = Heatmap(plausible.read, plausible.describe, saes=plausible.SAES, text="Ahoy, Mira.")
    heatmap = bridge.show(first)
    bridge.show(steering())
    roots = heatmap.page.locator(".sae-root")
    alone = [roots.nth(i).evaluate(look) for i in range(2)]
    bridge.page.evaluate("document.body.append(document.querySelector('style').cloneNode(true))")
    assert [roots.nth(i).evaluate(look) for i in range(2)] == alone


def test_keys_stay_in_the_panel_except_escape_and_chords(bridge):
    root = bridge.show(steering())
    bridge.page.evaluate(
        """() => { window.heard = [];
          document.body.addEventListener("keydown", (e) => heard.push(e.key)); }"""
    )
    root.get_by_role("slider").focus()
    for key in ("a", "d", "d", "ArrowLeft", "Escape", "Control+s"):
        bridge.page.keyboard.press(key)
    bridge.page.keyboard.press("/")
    bridge.page.keyboard.press("x")
    assert bridge.page.evaluate("heard.filter((key) => key !== 'Control')") == ["Escape", "s"]
    assert root.get_by_label("add a feature").input_value() == "x"


def test_closing_it_leaves_nothing_behind_in_a_shadow_root(bridge):
    widget = steering()
    bridge.show(widget, shadow=True)
    assert bridge.page.evaluate("(id) => host.close(id)", widget.model_id) == 0
    assert bridge.page.evaluate("(id) => host.listeners(id)", widget.model_id) == 0


def test_states_are_looked_at_gone_back_to_and_compared(bridge):
    widget = steering()
    root = bridge.show(widget)
    widget.edits = [{"op": "ablate", "feature": 57, "sae": "topk"}]
    bridge.pump()
    assert len(widget.history) == 2
    root.get_by_role("button", name="history").click()
    states = root.locator(".sae-go")
    assert states.nth(1).inner_text().split("\n")[:2] == ["1", "sea, ships and sailors 0.3 × peak"]
    root.get_by_role("button", name="compare").nth(1).click()
    root.locator("textarea").hover()  # it is on screen at once, wherever the pointer is
    heads = root.locator(".sae-pane .sae-between")
    assert heads.nth(0).inner_text().startswith("state 1: sea, ships and sailors 0.3 × peak")
    assert heads.nth(1).inner_text().startswith("state 2: ablate kitchen and cooking")
    states.nth(1).click()  # while the first is held
    bridge.until(lambda: widget.here == 1, "the first state is gone back to")
    assert widget.edits[0]["op"] == "add"
    assert len(widget.history) == 2
    root.locator("textarea").hover()
    assert heads.nth(0).inner_text().startswith("unsteered")
    widget.edits = [{"op": "ablate", "feature": 12, "sae": "topk"}]
    bridge.pump()
    root.get_by_role("button", name="compare", pressed=True).click()  # it is held still
    assert root.get_by_role("button", name="compare", pressed=True).count() == 0


def test_edits_are_kept_under_a_name_and_taken_again(bridge):
    kept = {}

    def keep(name, edits):
        kept[name] = edits
        widget.presets = {name: edits for name, edits in kept.items() if edits is not None}

    widget = steering(keep=keep)
    root = bridge.show(widget)
    root.get_by_role("button", name="presets").click()
    root.get_by_label("name of the preset").fill("<b>at sea</b>")
    bridge.page.keyboard.press("Enter")
    bridge.until(lambda: kept, "it was kept")
    widget.edits = []
    bridge.pump()
    root.get_by_role("button", name="<b>at sea</b>", exact=True).click()
    bridge.until(lambda: widget.edits, "it was taken")
    assert (widget.edits[0]["feature"], widget.edits[0]["strength"]) == (131, 0.3)
    root.get_by_role("button", name="forget <b>at sea</b>").click()
    bridge.until(lambda: kept["<b>at sea</b>"] is None, "it was forgotten")


COOK = {"op": "set", "feature": 57, "strength": 0.6, "unit": "peak", "sae": "topk"}


def test_all_edits_are_turned_up_and_down_together(bridge):
    widget = steering(edits=[SEA, COOK, {"op": "ablate", "feature": 12, "sae": "topk"}])
    root = bridge.show(widget)
    fader = root.get_by_label("strength of all edits together")
    for key in ("Shift+ArrowRight", "Shift+ArrowRight", "ArrowLeft"):
        fader.press(key)
    bridge.until(lambda: widget.edits[1]["strength"] == 0.6 * 1.19, "both are multiplied")
    assert widget.edits[0]["strength"] == 0.3 * 1.19
    assert widget.edits[2]["op"] == "ablate"
    fader.press("r")
    bridge.until(lambda: widget.edits[1]["strength"] == 0.6, "it was reset")


def test_one_edit_acts_alone_and_then_all_again(bridge):
    widget = steering(edits=[SEA, COOK])
    root = bridge.show(widget)
    dots = root.locator(".sae-dot")
    dots.nth(1).click(modifiers=["Alt"])
    bridge.until(
        lambda: [e.get("on") for e in widget.edits] == [False, True], "only the second acts"
    )
    dots.nth(1).press("s")
    bridge.until(lambda: [e["on"] for e in widget.edits] == [True, True], "both act")


def test_the_slider_shows_where_to_look_and_the_words_what_else_was_likely(bridge):
    root = bridge.show(steering())
    rail, band = root.locator(".sae-rail").bounding_box(), root.locator(".sae-band").bounding_box()
    # From -1.2 to 1.2, between 0.2 and 0.55.
    assert abs((band["x"] - rail["x"]) / rail["width"] - 1.4 / 2.4) < 0.01
    assert abs(band["width"] / rail["width"] - 0.35 / 2.4) < 0.01
    assert "Suggested: 0.2 to 0.55 × peak" in root.get_by_role("slider").get_attribute("title")
    word = root.locator(".sae-pane").nth(1).get_by_text("harbor")
    assert "·harbor 41 % (+38 %), ·oven 12 % (−20 %)" in word.get_attribute("title")


def test_edits_are_recorded_and_what_was_recorded_is_there_at_once(bridge):
    widget = steering(slow, worker=Worker)
    root = bridge.show(widget)
    bridge.until(lambda: widget.status["state"] == "done", "the first texts are there")
    assert root.locator(".sae-tick").count() == 0
    record = root.get_by_role("button", name="record")
    record.click()
    bridge.sees("to record: 4 runs of 40 tokens, about 9 kB")
    assert widget.recording is None
    record.click()
    bridge.until(lambda: root.locator(".sae-tick").count() == 5, "what was recorded has ticks")
    assert [take.strengths for take in widget.recording.takes] == [plausible.STRENGTHS]
    assert widget.edits[0]["strength"] == 0.3
    # A drag catches on a tick, and the arrows go on as ever.
    slider, rail = root.get_by_role("slider").first, root.locator(".sae-rail").bounding_box()
    x = rail["x"] + rail["width"] * (0.4 + 1.2) / 2.4
    bridge.page.mouse.click(x + 2, rail["y"] + 10)
    steered = root.locator(".sae-pane p").nth(1)
    assert "131 at 0.4, 0:" in steered.inner_text()
    assert root.locator(".sae-foot .sae-badge").inner_text() == "recorded"
    # The kernel has written the same settings meanwhile, and has more to say.
    bridge.until(
        lambda: root.locator(".sae-foot .sae-badge").count() == 0, "the run is the model's"
    )
    assert steered.inner_text().startswith("The captain opened the harbor")
    slider.press("ArrowRight")
    bridge.until(lambda: widget.edits[0]["strength"] == 0.41, "the next strength is another")
    widget.close()


def test_who_is_asked_before_recording_answers_with_the_keyboard(bridge):
    widget = steering(worker=Worker)
    root = bridge.show(widget)
    question = "to record: 4 runs of 40 tokens, about 9 kB"
    bridge.until(lambda: widget.status["state"] == "done", "the first texts are there")
    focused = lambda: bridge.page.evaluate("document.activeElement.textContent")  # noqa: E731
    root.get_by_role("button", name="record").focus()
    for answer in ("Escape", "Tab Enter"):
        bridge.page.keyboard.press("Enter")
        bridge.sees(question)
        assert focused() == "record now"
        for key in answer.split():
            bridge.page.keyboard.press(key)
        bridge.until(lambda: widget.recorder["state"] == "done", "nothing is asked any more")
        bridge.until(lambda: focused() == "record", "the button has the focus")
        assert root.get_by_text(question).count() == 0
        assert widget.recording is None
    bridge.page.keyboard.press("Enter")
    bridge.sees(question)
    # What is not what was asked about is asked about again.
    widget.edits = [{**SEA, "strength": 0.9}, {**SEA, "feature": 57}]
    bridge.until(lambda: focused() == "record", "the question is gone")
    bridge.page.keyboard.press("Enter")
    bridge.sees("to record: 8 runs of 40 tokens, about 9 kB")
    bridge.page.keyboard.press("Enter")
    bridge.until(lambda: root.locator(".sae-tick").count() == 10, "both are recorded")
    assert focused() == "record"
    assert [take.edit["feature"] for take in widget.recording.takes] == [131, 57]
    widget.close()


def test_neither_a_double_click_nor_a_key_that_is_held_down_nor_escape_elsewhere_answers(bridge):
    widget = steering(worker=Worker)
    root = bridge.show(widget)
    question = "to record: 4 runs of 40 tokens, about 9 kB"
    bridge.until(lambda: widget.status["state"] == "done", "the first texts are there")
    root.get_by_role("button", name="record").click()
    bridge.sees(question)
    bridge.page.mouse.down(click_count=2)
    bridge.page.mouse.up(click_count=2)
    root.get_by_role("textbox", name="prompt").press("Escape")
    root.get_by_role("button", name="cancel").press("Escape")
    bridge.until(lambda: widget.recorder["state"] == "done", "nothing is asked any more")
    assert bridge.page.evaluate("document.activeElement.textContent") == "record"
    bridge.page.keyboard.down("Enter")
    bridge.sees(question)
    for _ in range(3):
        bridge.page.keyboard.down("Enter")
    bridge.page.keyboard.up("Enter")
    bridge.pump()
    assert widget.recorder["state"] == "asks"
    assert widget.record["id"] == 2
    bridge.page.keyboard.press("Enter")
    bridge.until(lambda: widget.recording is not None, "it is recorded")
    widget.close()


def test_what_changes_while_a_recording_is_estimated_takes_the_question_away(bridge):
    def slow(request, before, check):
        while len(request["edits"]) == 1:
            check()
            time.sleep(0.01)
        return plausible.estimate(request, before, check)

    widget = steering(worker=Worker)
    widget._estimate = slow
    root = bridge.show(widget)
    bridge.until(lambda: widget.status["state"] == "done", "the first texts are there")
    root.get_by_role("button", name="record").click()
    bridge.sees("estimating …")
    widget.edits = [SEA, {**SEA, "feature": 57}]
    bridge.until(lambda: root.get_by_text("estimating …").count() == 0, "nothing is estimated")
    assert root.get_by_role("button", name="cancel").count() == 0
    root.get_by_role("button", name="record").click()
    bridge.sees("to record: 8 runs of 40 tokens, about 9 kB")
    widget.close()


def test_recording_can_be_watched_and_stopped(bridge):
    def endless(request, before, check, tell):
        yield from plausible.record(request, before, check, tell)
        time.sleep(0.15)  # no more than ten words a second are passed on
        tell(0.25)
        while not seen.is_set():  # the model is in the midst of a step
            time.sleep(0.01)
        while True:
            check()
            time.sleep(0.01)

    seen = threading.Event()
    widget = steering(worker=Worker)
    widget._record = endless
    root = bridge.show(widget)
    for _ in range(2):
        root.get_by_role("button", name="record").click()
        bridge.sees("4 runs of 40 tokens, about 9 kB")
    bridge.sees("recording 4 runs of 40 tokens, about 9 kB")
    bridge.until(
        lambda: root.locator("progress").get_attribute("value") == "0.25", "a quarter is done"
    )
    assert bridge.page.evaluate("document.activeElement.textContent") == "record"
    bridge.page.keyboard.press("Enter")
    assert widget.record["sure"]
    root.get_by_role("button", name="Stop").click()
    bridge.until(lambda: widget.record == {}, "the kernel has heard it")
    bridge.pump()
    assert root.locator("progress").count() == 1
    seen.set()
    bridge.sees("recorded in part: Stopped.")
    assert root.locator(".sae-tick").count() == 5
    widget.close()
