"""What annotators see: Argilla's web page in headless Chromium, signed in as one of them.

    require_browser()
    with Browser() as browser:
        page = browser.sign_in(server.url, "ann", password_of("ann"))
        page.open(dataset.id)
        assert "gpt" not in page.text() + page.heard()
        page.choose("choice", "The first")
        page.submit()
        page.screenshot(Path("docs/annotating.png"))

Playwright drives the Chromium of this machine (Debian: `chromium`); it reaches 127.0.0.1 and nothing else.
"""

import os
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any

WIDTH, HEIGHT = 1280, 800

PATIENCE = 20_000
"""Milliseconds that anything may take to appear on a busy machine."""


def require_browser() -> None:
    """Skip the test that asks, with a sentence, where there is no Chromium."""
    import pytest

    pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
    if chromium() is None:
        pytest.skip("there is no Chromium here: install it (Debian: apt-get install chromium)")


def chromium() -> str | None:
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


TASK, NONE_LEFT = ".record", ".wrapper--empty"

PLACE = f"""`${{document.querySelector('[aria-label="Current Record"]')?.innerText}} ${{!!document.querySelector('{NONE_LEFT}')}}`"""
"""In the page's own language: the number of the task that is shown, and whether none is left."""


class Browser:
    """One Chromium; each annotator who signs in has a window and cookies of their own."""

    def __enter__(self) -> "Browser":
        from playwright.sync_api import sync_playwright

        self._playwright = sync_playwright().start()
        flags = ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        if os.getuid() == 0:
            flags.append("--no-sandbox")  # as root it starts without one or not at all
        self._browser = self._playwright.chromium.launch(executable_path=chromium(), args=flags)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._browser.close()
        self._playwright.stop()

    def sign_in(self, url: str, name: str, password: str) -> "AnnotationPage":
        context = self._browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(f"{url}/sign-in")
        page.locator("input[type=text]").fill(name)
        page.locator("input[type=password]").fill(password)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda place: "sign-in" not in place)
        return AnnotationPage(page, url)


class AnnotationPage:
    """The page on which one annotator answers one task after the other. Questions go by their names, labels by what is written
    there."""

    def __init__(self, page: Any, url: str) -> None:
        self._page, self._url = page, url
        self._heard: list[str] = []
        page.route("**/api/**", self._listen)

    def _listen(self, route: Any) -> None:
        reply = route.fetch()
        if "json" in reply.headers.get("content-type", ""):
            self._heard.append(reply.text())
        route.fulfill(response=reply)

    def open(self, dataset_id: object) -> None:
        self._page.goto(f"{self._url}/dataset/{dataset_id}/annotation-mode")
        self._settle()

    def text(self) -> str:
        """All that can be read; the guidelines once they are unfolded."""
        return str(self._page.inner_text("body"))

    def task(self) -> str:
        """The task that is shown; empty when none is left."""
        task = self._page.locator(TASK)
        return str(task.inner_text()) if task.count() else ""

    def heard(self) -> str:
        """All that the server has sent since the sign-in, to show or to hide, as lines of JSON: what an annotator could find out."""
        return "\n".join(self._heard)

    def unfold_guidelines(self) -> None:
        self._page.locator(".panel", has_text="Guidelines").locator("button").first.click()

    def chosen(self, question: str) -> list[str]:
        """The labels of a question that are on, such as a suggestion's."""
        return [str(box.get_attribute("name")) for box in self._question(question).locator("input:checked").all()]

    def choose(self, question: str, label: str) -> None:
        """A label, or a rating."""
        self._question(question).locator("label").get_by_text(label, exact=True).click()

    def write(self, question: str, text: str) -> None:
        """Put the text in place of what stands there."""
        box = self._question(question).locator("[contenteditable=true]")
        box.click()
        self._page.keyboard.press("ControlOrMeta+A")
        self._page.keyboard.type(text)

    def submit(self) -> None:
        self._press("Submit")

    def discard(self) -> None:
        self._press("Discard")

    def screenshot(self, file: Path) -> None:
        self._page.mouse.move(0, 0)
        self._page.screenshot(path=file)

    def _question(self, name: str) -> Any:
        return self._page.locator(f'[aria-label="Question: {name}"]')

    def _press(self, button: str) -> None:
        """And wait until the server has it and the next task is there, or none is left."""
        before = self._page.evaluate(PLACE)
        with self._page.expect_response(lambda reply: "/responses" in reply.url and reply.request.method in ("POST", "PUT")) as said:
            self._page.locator("form.questions-form button", has_text=button).click()
        assert said.value.ok, said.value.text()
        self._page.wait_for_function(f"before => {PLACE} !== before", arg=before)
        self._settle()

    def _settle(self) -> None:
        self._page.wait_for_selector(f"{TASK}, {NONE_LEFT}")
        self._page.wait_for_load_state("networkidle")
