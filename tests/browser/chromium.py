"""The system's Chromium, headless, and tabs of it in which nothing that goes wrong stays unseen."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Request, expect, sync_playwright

from tests.programs import program

PATIENCE = 10_000  # milliseconds, as Playwright counts
GRAVE = ("serious", "critical")
NO_ANSWER = re.compile(r"Failed to load resource")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start it; CHROMIUM may say where it is. Skips the test where there is none."""
    found = program("chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox does not run as root
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=arguments)
        yield browser
        browser.close()


class Tab:
    """One tab that looks at the operator's page, with a session of its own.

    `faults` is what a person would call broken: what the console complains of, scripts that fail, the browser's
    own dialogs, requests that leave the origin.
    """

    def __init__(self, browser: Browser, api: str, *, width: int = 1280, colours: Any = "light") -> None:
        self._context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours)
        self._origin = urlsplit(api)
        self.address = f"{api}/dashboard"
        self.faults: list[str] = []
        self.unanswered = False  # a test that has the API fail expects the console to say so
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("dialog", self._asked)
        self.page.on("request", self._left)

    def close(self) -> None:
        """Close it."""
        self._context.close()

    def sign_in(self, token: str) -> None:
        """Open the page and sign in as a person does."""
        self.page.goto(self.address)
        self.page.get_by_label("Token").fill(token)
        self.page.get_by_role("button", name="Sign in").click()

    def go(self, screen: str, *, heading: str | re.Pattern[str] = "") -> None:
        """Go to a screen, such as `jobs?state=failed`, and wait until it shows what it has."""
        self.page.goto(f"{self.address}#/{screen}")
        expect(self.page.get_by_role("heading", level=1)).to_contain_text(heading)
        self.settle()

    def settle(self) -> None:
        """Wait until what is in sight has been loaded."""
        expect(self.page.get_by_text("loading …", exact=True)).to_have_count(0)
        expect(self.page.get_by_text("Loading …", exact=True)).to_have_count(0)

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def focused(self) -> str:
        """Return the text of what has the focus."""
        text: str = self.page.evaluate("document.activeElement.innerText ?? ''")
        return text

    def tab_to(self, text: str) -> None:
        """Press Tab until what has the focus begins with this."""
        for _ in range(60):
            if self.focused().startswith(text):
                return
            self.press("Tab")
        raise AssertionError(f"Tab does not lead to {text!r}; it leads to {self.focused()!r}")

    def inaccessible(self, **options: Any) -> list[str]:
        """Return what axe finds grave on the page as it stands."""
        told = {"resultTypes": ["violations"], **options}
        found = Axe().run(self.page, options=told).response["violations"]
        return [
            f"{each['id']}: {json.dumps([node['target'] for node in each['nodes']])}: {each['help']}"
            for each in found
            if each["impact"] in GRAVE
        ]

    def too_wide(self) -> int:
        """By how many pixels the page is wider than the window."""
        wide: int = self.page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        return max(0, wide)

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not (self.unanswered and NO_ANSWER.search(message.text)):
            self.faults.append(f"console: {message.text} ({message.location['url']})")

    def _asked(self, dialog: Dialog) -> None:
        self.faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _left(self, request: Request) -> None:
        to = urlsplit(request.url)
        if to.scheme not in ("blob", "data") and (to.scheme, to.netloc) != self._origin[:2]:
            self.faults.append(f"left the origin: {request.url}")
