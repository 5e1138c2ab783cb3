"""Screenshots of every screen in the middle of a bad on-sale: `python -m tests.browser.screens DIRECTORY`."""

import json
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from playwright.sync_api import Browser

from tests.acceptance.works import TIMING
from tests.browser.chromium import Tab, chromium
from tests.browser.desk import MAIL, PAID, Desk, screens

WIDTHS, COLOURS = (360, 1280, 2560), ("dark", "light")
VENUES = ("volksbuehne", "paradiso", "razzmatazz", "brixton")
CURRENCIES = ("EUR", "GBP", "USD")
HOUR = 3_600_000  # milliseconds
COUNTED = 80.0  # seconds until the first minutes are counted
ALERTED = {
    "QUEUE_TIMING": json.dumps({**json.loads(TIMING), "look_after": 1}),
    "ALERT_THRESHOLD_MONEY_QUEUE": "20",
    "ALERT_THRESHOLD_MONEY_AGE_MINUTES": "1",
}
SEEN = 75.0  # seconds until the monitor sees what is stuck


def main(directory: Path) -> None:
    """Fill a stack of its own and write `SCREEN-WIDTH-COLOURS.png` for all of them."""
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        chromium() as browser,
        closing(Desk(Path(place), **ALERTED)) as desk,
    ):
        job = on_sale(desk)
        for width in WIDTHS:
            for colours in COLOURS:
                _shoot(browser, desk, screens(desk, job), directory, width, colours)


def on_sale(desk: Desk) -> str:
    """Sell, have a bit of everything go wrong, and return a failed job that tells a story."""
    for job in [_pay(desk, number) for number in range(60)]:
        desk.ends(job)
    _fail(desk, "status-429", 14)
    _fail(desk, "decline", 6)
    _fail(desk, "status-500", 3)
    desk.fault("stripe", "status-503", 3)
    story = _pay(desk, 0, attempts=3)
    desk.ends(story, "failed")
    for venue in VENUES[:3]:
        desk.parked(venue)
    for hours in range(1, 6):
        desk.submit(VENUES[hours % 4], "email.send", MAIL, options={"delay": hours * HOUR})
    for name, cron in (("Monthly payout", "0 6 1 * *"), ("Reminders", "0 9 * * 5")):
        data = {"amount": 1_250_000, "currency": "EUR", "period": "2026-11"}
        kind = {"type": "payment.payout", "data": data, "venueId": VENUES[0]}
        desk.do("schedules", name=name, cronExpression=cron, timeZone="Europe/Berlin", job=kind)
    filters = {"state": "failed", "venueId": VENUES[0]}
    desk.do("jobs/bulk", mode="preview", action="retry", filter=filters, reason="A look")
    desk.do("queues/money/redrive", mode="preview", reason="Before the doors open")
    time.sleep(COUNTED)
    desk.fault("stripe", "status-503", 8)
    desk.do("rate-limits/emergency-stop", provider="twilio", reason="Carrier incident 42, texts do not arrive")
    for number in range(12):
        _pay(desk, number)
    time.sleep(2)
    desk.do("rate-limits/emergency-stop", provider="stripe", reason="Stripe answers 503: status.stripe.com")
    for number in range(48):
        _pay(desk, number)
    desk.do("queues/background/pause", reason="The bus is moved until noon")
    time.sleep(SEEN)
    return story


def _pay(desk: Desk, number: int, attempts: int = 10) -> str:
    data = PAID | {"amount": 3_200 + 450 * (number % 9), "currency": CURRENCIES[number % 3]}
    return desk.submit(VENUES[number % 4], "payment.process", data, options={"attempts": attempts})


def _fail(desk: Desk, mode: str, count: int) -> None:
    desk.fault("stripe", mode, count)
    for job in [_pay(desk, number, attempts=1) for number in range(count)]:
        desk.ends(job, "failed")


def _shoot(browser: Browser, desk: Desk, shown: list[str], directory: Path, width: int, colours: str) -> None:
    with closing(Tab(browser, desk.api, width=width, colours=colours)) as tab:
        tab.page.goto(tab.address)
        _save(tab, directory / f"sign-in-{width}-{colours}.png")
        tab.sign_in(desk.token())
        for screen in shown:
            tab.go(screen)
            name, _, one = screen.partition("/")
            _save(tab, directory / f"{name}{'-one' if one else ''}-{width}-{colours}.png")
        for fault in tab.faults:
            sys.stderr.write(f"{width} {colours}: {fault}\n")


def _save(tab: Tab, path: Path) -> None:
    # The window is made as tall as the page, so that what sticks to its foot is at the foot.
    size = tab.page.viewport_size or {"width": 0, "height": 0}
    tall: int = tab.page.evaluate("document.scrollingElement.scrollHeight")
    tab.page.set_viewport_size({"width": size["width"], "height": max(tall, size["height"])})
    tab.page.screenshot(path=path)
    tab.page.set_viewport_size(size)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
