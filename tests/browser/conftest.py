"""A browser for the tests of this folder; where there is none, they are skipped and say so."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator

import pytest

REQUIRED = os.environ.get("SAE_WIDGETS_REQUIRE_BROWSER") == "1"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def _without(reason: str) -> None:
    """Skip, or fail where a browser is required."""
    if REQUIRED:
        pytest.fail(f"{reason} (SAE_WIDGETS_REQUIRE_BROWSER=1)", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[object]:
    try:
        from playwright.sync_api import Error, sync_playwright
    except ImportError:
        _without("no browser tests without playwright: pip install 'sae-widgets[test]'")
    with sync_playwright() as playwright:
        found = next(filter(None, map(shutil.which, NAMES)), None)
        try:
            chromium = playwright.chromium.launch(
                executable_path=found, args=["--no-sandbox", "--disable-gpu"]
            )
        except Error as error:
            _without(
                "no browser was found: install Chromium or Chrome, or run "
                f"`python -m playwright install chromium` ({str(error).splitlines()[0]})"
            )
        yield chromium
        chromium.close()


@pytest.fixture
def bridge(browser, monkeypatch) -> Iterator[object]:
    import comm
    from bridge import Bridge, Message, QueueComm

    queue: deque[Message] = deque()

    def create_comm(*args: object, **keys: object) -> QueueComm:
        QueueComm.queue = queue
        return QueueComm(*args, **keys)

    monkeypatch.setattr(comm, "create_comm", create_comm)
    context = browser.new_context(viewport={"width": 1120, "height": 900})
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
    yield Bridge(page, queue)
    context.close()
    assert errors == []
