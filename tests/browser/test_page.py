"""The operator's page in a real Chromium over a running stack: one stack for all, a venue for each test."""

import gzip
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jwt
import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from tests.browser.chromium import Tab, chromium
from tests.browser.desk import PAID, Desk, screens, until

SMALL, LARGE = 360, 2560
FIRST_VIEW = 150_000  # bytes, each file compressed
MANY = 100_000
ATTACK = '"><img src=x onerror="window.struck=1;alert(1)"><script>window.struck=1</script>'
MOMENT = re.compile(r"^\d{4}-\d\d-\d\dT")
WORDS = re.compile(r"^[a-zA-Z_.:-]{1,40}$")  # what the page compares with: states, tiers, types, severities
Open = Callable[..., Tab]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def desk(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(tmp_path_factory.mktemp("desk"))  # after the browser, without which nothing is to be started
    yield made
    made.close()


@pytest.fixture
def opened(browser: Browser, desk: Desk) -> Iterator[Open]:
    """Return what opens a tab and signs in; afterwards nothing may have gone wrong in any."""
    tabs: list[Tab] = []

    def open_tab(*, token: str | None = None, **look: Any) -> Tab:
        tabs.append(Tab(browser, desk.api, **look))
        if token != "":
            tabs[-1].sign_in(token or desk.token())
        return tabs[-1]

    yield open_tab
    for tab in tabs:
        tab.close()
    assert [tab.faults for tab in tabs] == [[] for _ in tabs]


@pytest.fixture
def tab(opened: Open) -> Tab:
    return opened()


def row(tab: Tab, text: str) -> Locator:
    return tab.page.get_by_role("row").filter(has_text=text)


def press(within: Any, name: str) -> None:
    within.get_by_role("button", name=name, exact=True).click()


def answer(tab: Tab, verb: str, **fields: str) -> None:
    """Fill in the dialog in sight, do it, and wait until the dialog is gone."""
    dialog = tab.page.get_by_role("dialog")
    for name, value in fields.items():
        field = dialog.locator(f"#field-{name}")
        if field.evaluate("each => each.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    press(dialog, verb)
    expect(dialog).to_have_count(0)


def audited(desk: Desk, subject: str) -> list[str]:
    return [each["action"] for each in desk.read(f"audit?subject={subject}")["entries"]]


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ("not a token", "This is not a JSON Web Token"),
        (jwt.encode({"sub": "u1", "role": "admin", "exp": 1}, "k" * 32), "This token has expired"),
        (
            jwt.encode({"sub": "u1", "role": "user", "exp": 4e9}, "k" * 32),
            "the role user may not use this page",
        ),
    ],
    ids=["no token", "expired", "a user"],
)
def test_a_token_that_is_of_no_use_is_refused_with_words(opened: Open, token: str, told: str) -> None:
    tab = opened(token=token)
    expect(tab.page.get_by_role("alert")).to_contain_text(told)


def test_a_forged_token_shows_nothing_and_says_what_to_do(opened: Open) -> None:
    forged = {"sub": "u1", "role": "admin", "exp": time.time() + 3600, "iat": time.time()}
    tab = opened(token="")
    tab.unanswered = True
    tab.sign_in(jwt.encode(forged, "k" * 32))
    expect(tab.page.get_by_role("alert")).to_contain_text("The service no longer takes the token")
    expect(tab.page.get_by_label("Token")).to_be_visible()


def test_the_token_is_gone_once_signed_out(tab: Tab) -> None:
    tab.page.locator(".who summary").click()
    press(tab.page, "Sign out")
    tab.page.reload()
    expect(tab.page.get_by_label("Token")).to_be_visible()
    assert tab.page.evaluate("[sessionStorage.length, document.cookie]") == [0, ""]


def test_a_failed_job_is_found_by_its_error_read_retried_and_seen_to_complete(tab: Tab, desk: Desk) -> None:
    [job] = desk.declined("v-found")
    tab.page.get_by_role("searchbox").fill("The card was DECLINED")
    tab.press("Enter")
    found = row(tab, "v-found")
    expect(found).to_contain_text("45.00 EUR")
    found.get_by_role("link").click()
    expect(tab.page.locator(".verdict")).to_contain_text("generic_decline The card was declined. (req_")
    expect(tab.page.locator(".timeline")).to_contain_text("attempt 1")
    press(tab.page, "Retry now")
    answer(tab, "Retry now", reason="The bank says it is lifted")
    expect(tab.page.locator(".verdict")).to_contain_text("Done")
    assert desk.charges(job) == 1
    assert audited(desk, job) == ["retry"]


def test_a_job_is_found_by_its_id_and_trouble_by_what_it_speaks_of(tab: Tab, desk: Desk) -> None:
    [job] = desk.declined("v-ids")
    search = tab.page.get_by_role("searchbox")
    for text in (job, desk.read(f"jobs/{job}")["error"]["reference"]):
        search.fill(text)
        tab.press("Enter")
        if text != job:
            expect(tab.page.get_by_text("1 job speaks of")).to_be_visible()
            expect(tab.page.get_by_role("button", name="All that match")).to_have_count(0)
            row(tab, "v-ids").get_by_role("link").click()
        expect(tab.page.get_by_role("heading", level=1)).to_have_text(f"Job {job}")
        tab.go("overview")
    search.fill("nothing of the kind")
    tab.press("Enter")
    expect(tab.page.get_by_text("No job and no venue is called “nothing of the kind”")).to_be_visible()


def test_a_group_is_redriven_after_a_preview_once_its_count_is_typed_and_stops(tab: Tab, desk: Desk) -> None:
    jobs = desk.dead("v-dead", 3)
    tab.go("dead-letters?queue=money")
    press(row(tab, "provider_rate_limited"), "Redrive … payment.process:provider_rate_limited")
    dialog = tab.page.get_by_role("dialog")
    press(dialog, "Preview: change nothing")
    expect(dialog).to_contain_text("Redrive 3 jobs?")
    expect(dialog).to_contain_text("135.00 EUR")
    assert [desk.read(f"jobs/{job}")["state"] for job in jobs] == ["failed"] * 3
    dialog.locator("#field-reason").fill("The limit is raised")
    dialog.locator("#field-typed").fill("4")
    expect(dialog.get_by_role("button", name="Redrive")).to_be_disabled()
    dialog.locator("#field-typed").fill("3")
    press(dialog, "Redrive")
    expect(dialog).to_contain_text("goes ahead as the canary")
    press(dialog, "Stop")
    asked = tab.page.get_by_role("dialog", name="Stop this operation?")
    press(asked, "Stop")
    expect(asked).to_have_count(0)
    expect(dialog).to_contain_text("stopped")
    desk.ends(jobs[2])  # the latest is the canary
    assert [desk.charges(job) for job in jobs] == [0, 0, 1]
    for job in jobs[:2]:
        desk.do(f"jobs/{job}/retry")
        desk.ends(job)


def test_what_matches_a_filter_is_cancelled_after_a_preview(tab: Tab, desk: Desk) -> None:
    jobs = [desk.submit("v-bulk", "payment.process", PAID, options={"delay": 3_600_000}) for _ in range(3)]
    time.sleep(1.1)  # what matches is what was accepted before it was asked for
    tab.go("jobs?venueId=v-bulk&state=scheduled")
    press(tab.page, "All that match …")
    press(tab.page.get_by_role("dialog"), "Preview: change nothing")
    dialog = tab.page.get_by_role("dialog")
    dialog.locator("#field-reason").fill("The show is off")
    dialog.locator("#field-typed").fill("3")
    press(dialog, "Cancel")
    for job in jobs:
        desk.ends(job, "cancelled")


def test_a_page_is_exported_and_retried_once_its_count_is_typed(tab: Tab, desk: Desk) -> None:
    jobs = desk.declined("=v-page", 2)
    tab.go("jobs?venueId=%3Dv-page")
    with tab.page.expect_download() as download:
        press(tab.page, "Export CSV")
    heads, *rows = Path(download.value.path()).read_text("utf-8-sig").splitlines()
    assert heads.startswith("id,queue,type,venueId,state,")
    told = [f"{job},money,payment.process,'=v-page,failed" for job in reversed(jobs)]  # no formula
    assert [each[: len(told[0])] for each in rows] == told
    tab.page.get_by_label("Select every row of this page").check()
    press(tab.page, "Retry")
    dialog = tab.page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Retry")).to_be_disabled()
    answer(tab, "Retry", typed="2")
    for job in jobs:
        desk.ends(job)
        assert desk.charges(job) == 1


def test_a_provider_is_stopped_as_the_first_glance_says_and_resumed(tab: Tab, desk: Desk) -> None:
    tab.go("providers")
    press(row(tab, "stripe"), "Stop stripe")
    answer(tab, "Stop", reason="Stripe answers 503")
    expect(row(tab, "Stripe answers 503")).to_contain_text("u1")
    assert desk.read("rate-limits/stripe")["stopped"]
    tab.go("overview")
    verdict = tab.page.locator(".verdict")
    expect(verdict).to_contain_text("Money is stopped at stripe.")
    expect(verdict).to_contain_text("stopped by u1: Stripe answers 503.")
    verdict.get_by_role("link", name="See what is stopped").click()
    press(row(tab, "Stripe answers 503"), "Resume provider stripe")
    answer(tab, "Resume", reason="It answers again")
    expect(tab.page.get_by_text("Nothing is stopped.")).to_be_visible()
    assert not desk.read("rate-limits/stripe")["stopped"]


def test_a_tier_is_paused_with_a_reason_and_resumed(tab: Tab, desk: Desk) -> None:
    press(tab.page, "Pause background")
    dialog = tab.page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Pause")).to_be_disabled()
    answer(tab, "Pause", reason="The bus is moved")
    card = tab.page.get_by_role("region", name="background")
    expect(card).to_contain_text("The bus is moved")
    assert desk.read("queues/background")["state"] == "paused"
    press(tab.page, "Resume background")
    answer(tab, "Resume")
    expect(card).not_to_contain_text("The bus is moved")
    assert desk.read("queues/background")["state"] == "open"


def test_an_alert_is_acknowledged_and_a_parked_job_resolved(tab: Tab, desk: Desk) -> None:
    job = desk.parked("v-parked")
    until(lambda: any(each["alertType"] == "parked" for each in desk.read("alerts")["alerts"]))
    press(tab.page, "Acknowledge communication parked")
    answer(tab, "Acknowledge", reason="Mine")
    expect(tab.page.get_by_role("button", name="Acknowledge communication parked")).to_have_count(0)
    tab.go("alerts")
    expect(tab.page.get_by_text("acknowledged by u1")).to_be_visible()
    tab.go("parked")
    press(tab.page, f"Resolve {job}")
    expect(tab.page.get_by_role("dialog")).to_contain_text("its X-Job-Id stands in the sending log")
    answer(tab, "Resolve", resolution="completed", reason="It stands in the log")
    expect(tab.page.get_by_role("button", name=f"Resolve {job}")).to_have_count(0)
    desk.ends(job)
    assert audited(desk, job) == ["resolve_completed"]


def test_find_read_and_retry_by_keyboard_alone(tab: Tab, desk: Desk) -> None:
    first, second = sorted(desk.declined("v-keys", 2))
    tab.press("/")
    tab.page.keyboard.type("v-keys")
    tab.press("Enter")
    expect(row(tab, "v-keys")).to_have_count(2)
    tab.press("j", "j", "k", "j", "x")  # the older one stands second
    expect(tab.page.get_by_text("1 job is selected")).to_be_visible()
    tab.press("Enter")
    expect(tab.page.get_by_role("heading", level=1)).to_have_text(f"Job {first}")
    expect(tab.page.locator(".verdict")).to_contain_text("declined")
    tab.press("r")
    expect(tab.page.get_by_role("dialog")).to_be_visible()
    tab.page.keyboard.type("by hand")
    tab.press("Enter")
    expect(tab.page.locator(".verdict")).to_contain_text("Done")
    assert desk.read(f"jobs/{second}")["state"] == "failed"
    assert desk.read(f"audit?subject={first}")["entries"][0]["reason"] == "by hand"


def test_redrive_by_keyboard_alone(tab: Tab, desk: Desk) -> None:
    [job] = desk.dead("v-redrive")
    tab.press("?")
    expect(tab.page.get_by_role("dialog")).to_contain_text("dead letters")
    tab.press("Escape", "g", "l")
    expect(row(tab, "provider_rate_limited")).to_be_visible()
    tab.press("j", "r")
    dialog = tab.page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Preview")).to_be_focused()
    tab.press("Enter")
    expect(dialog).to_contain_text("Redrive 1 job?")
    tab.tab_to("Leave it")
    for _ in range(2):
        tab.press("Shift+Tab")
    for text in ("mended", "1"):
        tab.page.keyboard.type(text)
        tab.press("Tab")
    tab.press("Shift+Tab")
    tab.press("Enter")
    desk.ends(job)
    assert desk.charges(job) == 1


def test_what_comes_from_outside_is_shown_as_text(tab: Tab, desk: Desk) -> None:
    venue = ATTACK.replace(" ", "/")[:255]
    data = {**PAID, "description": ATTACK, "customerId": "cus_<b>x</b>", "orderId": venue}
    desk.fault("stripe", "decline", 2)
    job = desk.submit(venue, "payment.process", data, options={"attempts": 1})
    desk.ends(job, "failed")
    desk.do(f"jobs/{job}/retry", reason=ATTACK)
    until(lambda: desk.read(f"jobs/{job}")["attempts"] == 2)
    desk.ends(job, "failed")
    tab.go(f"jobs/{job}")
    expect(tab.page.get_by_text(ATTACK).first).to_be_visible()
    tab.go("audit")
    expect(row(tab, "retry").get_by_text(ATTACK).first).to_be_visible()

    # And whatever an answer may hold: each of its texts is an attack.
    tab.page.route("**/v1/**", turned)
    for screen in screens(desk, job):
        tab.go(screen)
    assert tab.page.evaluate("window.struck") is None
    assert tab.page.locator("img, script:not([src]), [href^='javascript']").count() == 0


def turned(route: Route) -> None:
    """Answer as the service does, with an attack in place of every text that is no moment and no word."""
    response = route.fetch()
    route.fulfill(response=response, body=json.dumps(attack(response.json())))


def answering(body: Any) -> Callable[[Route], None]:
    return lambda route: route.fulfill(json=body)


def attack(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: each if name == "id" else attack(each) for name, each in value.items()}
    if isinstance(value, list):
        return [attack(each) for each in value]
    if isinstance(value, str) and not MOMENT.match(value) and not WORDS.match(value):
        return f"javascript:alert(1)//{ATTACK}{value}"
    return value


@pytest.fixture(scope="module")
def lively(desk: Desk) -> str:
    """Return a failed job, with something to see on every screen."""
    [job] = desk.dead("v-lively")
    desk.parked("v-lively")
    sent = {"eventType": "view", "targetId": "t1", "timestamp": "2026-03-01T12:00:00Z"}
    kind = {"type": "analytics.track", "data": sent, "venueId": "v-lively"}
    desk.do("schedules", name="Nightly", cronExpression="0 6 1 * *", timeZone="Europe/Berlin", job=kind)
    desk.do("jobs/bulk", mode="preview", action="retry", filter={"venueId": "v-lively"}, reason="A look")
    desk.do("rate-limits/emergency-stop", provider="twilio", reason="Carrier incident 42")
    until(lambda: desk.read("alerts")["alerts"])
    return job


@pytest.mark.parametrize("width", [SMALL, LARGE])
def test_every_screen_is_fit_for_everybody(opened: Open, desk: Desk, lively: str, width: int) -> None:
    tab = opened(width=width)
    found: dict[str, Any] = {}
    for screen in screens(desk, lively):
        tab.go(screen)
        found[screen] = tab.inaccessible()
        tab.page.emulate_media(color_scheme="dark")
        found[f"{screen}, dark"] = tab.inaccessible(runOnly=["color-contrast"])
        tab.page.emulate_media(color_scheme="light")
        found[f"{screen}, too wide"] = tab.too_wide()
    assert {where: what for where, what in found.items() if what} == {}


@pytest.mark.parametrize("colours", ["dark", "light"])
def test_the_sign_in_and_the_dialogs_are_fit_for_everybody(
    opened: Open, desk: Desk, lively: str, colours: str
) -> None:
    tab = opened(token="", width=SMALL, colours=colours)
    tab.page.goto(tab.address)
    expect(tab.page.get_by_label("Token")).to_be_focused()
    assert tab.inaccessible() == []
    tab.sign_in(desk.token())
    tab.go(f"jobs/{lively}")
    for name in ("Retry now", "Clone with edits"):
        press(tab.page, name)
        assert tab.inaccessible() == []
        tab.press("Escape")
    tab.press("?")
    assert tab.inaccessible() == []
    assert tab.too_wide() == 0


def test_a_venues_admin_sees_its_venue_and_what_it_may_do(opened: Open, desk: Desk) -> None:
    [own], [others] = desk.declined("v-own"), desk.declined("v-others")
    tab = opened(token=desk.token("venue_admin", "v-own"))
    expect(tab.page.get_by_role("region", name="money")).to_be_visible()
    links = tab.page.get_by_role("navigation").get_by_role("link").all_inner_texts()
    assert links == ["Overview", "Jobs", "Parked", "Operations", "Alerts", "Health and cost"]
    expect(tab.page.get_by_role("button", name=re.compile("Pause (money|communication)"))).to_have_count(0)
    tab.go("jobs")
    expect(row(tab, "v-own")).to_have_count(1)
    expect(row(tab, "v-others")).to_have_count(0)
    tab.go("providers", heading="There is no such page")
    tab.unanswered = True
    tab.go(f"jobs/{others}")
    expect(tab.page.get_by_role("alert")).to_contain_text("(404)")
    tab.go(f"jobs/{own}")
    press(tab.page, "Retry now")
    answer(tab, "Retry now")
    desk.ends(own)


def test_the_live_update_follows_pauses_and_goes_on(tab: Tab, desk: Desk) -> None:
    tab.page.clock.install()
    tab.go("jobs?venueId=v-live")
    tab.press("u")
    expect(tab.page.get_by_role("button", name="Paused")).to_be_visible()
    asked: list[str] = []
    tab.page.on("request", lambda request: asked.append(request.url))
    desk.submit("v-live", "payment.process", PAID, options={"delay": 3_600_000})
    tab.page.clock.run_for(60_000)
    assert asked == []
    tab.press("u")
    tab.page.clock.run_for(6_000)
    expect(row(tab, "v-live")).to_be_visible()


def test_an_api_that_fails_leaves_the_old_data_in_sight(tab: Tab, desk: Desk, lively: str) -> None:
    tab.unanswered = True
    tab.page.clock.install()
    tab.go("jobs?venueId=v-lively&state=failed")
    refused = {"error": "StoreUnavailable", "message": "The table did not answer.", "retryAfter": 3}
    for fail, told in (
        (lambda route: route.fulfill(status=503, json=refused), "Not done (503): The table did not answer."),
        (lambda route: route.abort(), "The service cannot be reached."),
    ):
        tab.page.route("**/v1/**", fail)
        tab.page.clock.run_for(6_000)
        expect(tab.page.get_by_role("alert")).to_contain_text(told)
        expect(row(tab, "v-lively")).to_be_visible()
        tab.page.unroute("**/v1/**")
        press(tab.page.get_by_role("alert"), "Try again")
        expect(tab.page.get_by_role("alert")).to_have_count(0)


def test_the_first_view_is_small(opened: Open, desk: Desk) -> None:
    tab = opened(token="")
    bodies: dict[str, bytes] = {}
    tab.page.on("response", lambda response: bodies.update({urlsplit(response.url).path: response.body()}))
    tab.sign_in(desk.token())
    tab.settle()
    assert len(bodies) > 10
    assert sum(len(gzip.compress(body)) for body in bodies.values()) < FIRST_VIEW


def test_a_hundred_thousand_jobs_are_shown_and_mended_as_easily(tab: Tab, desk: Desk, lively: str) -> None:
    queues, job = desk.read("queues"), desk.read("jobs?venueId=v-lively&state=failed")["jobs"][0]
    money = queues["queues"][0]
    money["counts"] = {"retrying": MANY, "scheduled": 0, "parked": 0, "failed": MANY}
    page = {"jobs": [{**job, "id": f"job_{n:026}"} for n in range(50)], "cursor": "more"}
    operation = {**desk.read("operations")["operations"][0], "status": "completed", "money": {"EUR": 45 * MANY}}
    operation["progress"] = {**operation["progress"], "matched": MANY, "done": MANY}
    for path, told in (("queues", queues), ("jobs?*", page), ("jobs/bulk", operation)):
        tab.page.route(f"**/v1/{path}", answering(told))
    tab.go("overview")
    expect(tab.page.get_by_role("region", name="money")).to_contain_text("100,000")
    tab.go("jobs?state=failed")
    expect(tab.page.get_by_role("row")).to_have_count(51)
    press(tab.page, "All that match …")
    press(tab.page.get_by_role("dialog"), "Preview: change nothing")
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_contain_text("Retry 100,000 jobs?")
    dialog.locator("#field-reason").fill("The bank is back")
    expect(dialog.get_by_role("button", name="Retry")).to_be_disabled()
    dialog.locator("#field-typed").fill("100000")
    expect(dialog.get_by_role("button", name="Retry")).to_be_enabled()
