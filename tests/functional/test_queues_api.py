"""The queues over HTTP, and the event sources that follow what operators pause."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from chalice.test import HTTPResponse

from chalicelib import wiring
from chalicelib.domain.controls import Controls, Scope
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import State
from chalicelib.domain.jobtype import Work
from chalicelib.domain.outcome import Outcome
from chalicelib.domain.policies import EffectClass, Lane, Tier
from tests.factories import a_job
from tests.fakes import MemoryStore
from tests.front import Front
from tests.functional.house import DONE, House
from tests.functional.test_functions import run_dispatch, run_recount
from tests.functional.test_jobs_api import MAIL, PAYMENT

SOME = {"waiting": 0, "inFlight": 0, "delayed": 0}
MINUTE = timedelta(minutes=1)
STANDING_STILL = dict.fromkeys(Tier, False)


@pytest.fixture
def front() -> Iterator[Front]:
    yield Front()  # it is 2026-03-01, noon in UTC
    wiring.install(None)


def see(front: Front, path: str = "/v1/queues/money") -> dict[str, Any]:
    answer = front.get(path, token=front.token("admin", venue=None))
    assert answer.status_code == 200
    seen: dict[str, Any] = answer.json_body
    return seen


def ask(front: Front, path: str, body: Any) -> HTTPResponse:
    """Send an administrator's request, which is carried out."""
    headers = {"Content-Type": "application/json"}
    headers["Authorization"] = f"Bearer {front.token('admin', sub='admin-1', venue=None)}"
    answer = front.client.http.post(path, headers=headers, body=json.dumps(body).encode())
    assert answer.status_code == 200
    return answer


def closed(front: Front) -> list[Tier]:
    return [tier for tier, enabled in front.event_sources.enabled.items() if not enabled]


# --- what is seen


def test_an_empty_queue_is_open_and_young(front: Front) -> None:
    assert see(front) == {
        "queue": "money",
        "state": "open",
        "stops": [],
        "lanes": {"main": SOME, "express": SOME},
        "poison": 0,
        "oldestAgeSeconds": None,
        "oldestAge": "< 5 min",
        "begunPerMinute": 0,
        "endedPerMinute": 0,
        "drainSeconds": None,
        "p95Seconds": None,
        "p95": "none yet",
        "counts": {"queued": 0, "running": 0, **dict.fromkeys(("scheduled", "retrying", "parked", "failed"))},
        "money": None,
        "countedAt": None,
    }


def test_a_queue_tells_what_stands_in_each_state_and_the_money_that_waits(front: Front) -> None:
    front.post({"type": "payment.process", "data": PAYMENT})
    front.post({"type": "payment.process", "data": {**PAYMENT, "orderId": "o-2"}, "options": {"delay": 60_000}})
    front.store.add(replace(a_job("job_3"), state=State.PARKED, next_look=None))
    run_recount()
    front.clock.advance(MINUTE)
    seen = see(front)
    assert seen["counts"] == {
        "queued": 2,
        "running": 0,  # as SQS counts: the second is due by now
        "scheduled": 1,
        "retrying": 0,
        "parked": 1,
        "failed": 0,
    }
    assert seen["money"] == [{"currency": "EUR", "amount": 2 * PAYMENT["amount"]}]
    assert seen["countedAt"] == "2026-03-01T12:00:00.000Z"
    of_venue = front.get("/v1/queues/money", token=front.token("venue_admin")).json_body
    assert {*seen} - {*of_venue} == {"money"}, "it is all venues' money"
    mail = see(front, "/v1/queues/communication")
    assert (mail["counts"]["parked"], mail["money"], mail["countedAt"]) == (0, [], seen["countedAt"])


def test_messages_are_counted_by_tier_lane_and_how_they_stand(front: Front) -> None:
    front.post({"type": "payment.process", "data": PAYMENT})
    front.queue.receive(Tier.MONEY, Lane.MAIN)
    for order, options in enumerate([{}, {}, {"priority": 10}, {"delay": 60_000}]):
        data = {**PAYMENT, "orderId": f"another-{order}"}
        front.post({"type": "payment.process", "data": data, "options": options})
    front.post(MAIL)
    front.queue.bury(Tier.MONEY, "{", "malformed")
    seen = see(front)
    assert seen["lanes"] == {
        "main": {"waiting": 2, "inFlight": 1, "delayed": 1},
        "express": {**SOME, "waiting": 1},
    }
    assert seen["poison"] == 1
    assert see(front, "/v1/queues/communication")["lanes"]["main"] == {**SOME, "waiting": 1}


def test_every_queue_is_listed_as_it_is_seen_by_itself(front: Front) -> None:
    front.post({"type": "payment.process", "data": PAYMENT})
    queues = see(front, "/v1/queues")["queues"]
    assert [each["queue"] for each in queues] == ["money", "communication", "background"]
    assert queues == [see(front, f"/v1/queues/{tier}") for tier in Tier]


@pytest.mark.parametrize(
    ("minutes", "age"),
    [(7, "7 min"), (60, "1 h"), (125, "2 h 5 min"), (24 * 60 + 5, "1 d 5 min"), (76 * 60 + 9, "3 d 4 h")],
)
def test_the_oldest_is_as_old_as_it_has_been_due(front: Front, minutes: int, age: str) -> None:
    front.post({"type": "payment.process", "data": PAYMENT})
    run_dispatch()  # sees that its message was sent
    front.clock.advance(minutes * MINUTE)
    run_dispatch()  # misses it
    assert (see(front)["oldestAgeSeconds"], see(front)["oldestAge"]) == (minutes * 60, age)
    assert see(front, "/v1/queues/background")["oldestAgeSeconds"] is None


def test_what_holds_a_queue_back_is_shown_with_it_and_nothing_else_is(front: Front) -> None:
    ask(front, "/v1/queues/money/pause", {"reason": "bank", "until": "2026-03-01T13:00:00Z"})
    ask(front, "/v1/rate-limits/emergency-stop", {"provider": "stripe", "reason": "chargebacks"})
    seen = see(front)
    assert seen["state"] == "paused"
    [stop] = seen["stops"]
    assert (stop["reason"], stop["owner"]) == ("bank", "admin-1")
    assert (stop["since"], stop["until"]) == ("2026-03-01T12:00:00.000Z", "2026-03-01T13:00:00.000Z")
    assert see(front, "/v1/queues/background")["state"] == "open"
    front.clock.advance(60 * MINUTE)
    assert (see(front)["state"], see(front)["stops"]) == ("open", [])


def test_a_queue_that_there_is_not_is_refused_with_those_that_there_are(front: Front) -> None:
    answer = front.get("/v1/queues/gold", token=front.token("admin"))
    assert answer.status_code == 400
    [problem] = answer.json_body["details"]
    assert problem == {"field": "tier", "message": "Send one of money, communication, background."}


def test_seeing_costs_the_same_whatever_waits(front: Front) -> None:
    def cost(path: str) -> int:
        before = front.backlog.calls
        see(front, path)
        return front.backlog.calls - before

    paths = ("/v1/queues", "/v1/queues/money")
    empty = [cost(path) for path in paths]
    for order in range(200):
        front.post({"type": "payment.process", "data": {**PAYMENT, "orderId": f"order-{order}"}})
    assert [cost(path) for path in paths] == empty == [6, 2]


def test_queues_that_do_not_answer_are_not_shown_as_empty(front: Front) -> None:
    front.backlog.down = True
    assert front.get("/v1/queues", token=front.token("admin")).status_code == 503


# --- the event sources


def test_a_paused_queue_is_not_given_to_its_consumers_until_it_is_resumed(front: Front) -> None:
    ask(front, "/v1/queues/money/pause", {"reason": "bank"})
    assert closed(front) == [Tier.MONEY]
    ask(front, "/v1/queues/money/resume", {})
    assert closed(front) == []
    told = [(action, facts["queue"]) for action, facts in front.journal.events if "event_sources" in action]
    assert told == [("event_sources_closed", "money"), ("event_sources_opened", "money")]


def test_a_stop_of_everything_closes_every_queue_and_outlasts_a_resumed_pause(front: Front) -> None:
    ask(front, "/v1/rate-limits/emergency-stop", {"scope": "all", "reason": "storm"})
    assert closed(front) == list(Tier)
    ask(front, "/v1/queues/money/resume", {})
    assert closed(front) == list(Tier)
    ask(front, "/v1/rate-limits/resume", {"scope": "all", "reason": "it is over"})
    assert closed(front) == []


@pytest.mark.parametrize("named", [{"provider": "stripe"}, {"venueId": "money"}, {"type": "payment.process"}])
def test_a_stop_of_less_than_a_queue_closes_none(front: Front, named: dict[str, str]) -> None:
    ask(front, "/v1/rate-limits/emergency-stop", {**named, "reason": "chargebacks"})
    run_dispatch()
    assert closed(front) == []


def test_a_pause_that_ends_by_itself_opens_its_queue_within_the_next_run(front: Front) -> None:
    ask(front, "/v1/queues/money/pause", {"reason": "bank", "until": "2026-03-01T12:10:00Z"})
    front.clock.advance(9 * MINUTE)
    run_dispatch()
    assert closed(front) == [Tier.MONEY]
    front.clock.advance(MINUTE)
    run_dispatch()
    assert closed(front) == []


def test_what_was_closed_behind_everybodys_back_is_opened_by_the_next_run(front: Front) -> None:
    front.event_sources.enabled |= STANDING_STILL
    run_dispatch()
    assert closed(front) == []


def test_a_pause_holds_even_if_its_event_sources_cannot_be_closed(front: Front) -> None:
    front.event_sources.down = True
    answer = ask(front, "/v1/queues/money/pause", {"reason": "bank"})
    assert (answer.json_body["state"], closed(front)) == ("paused", [])
    assert ("event_sources_unchanged", {"queue": "money", "error": "StoreRefused"}) in front.journal.events
    front.event_sources.down = False
    run_dispatch()
    assert closed(front) == [Tier.MONEY]


class Mute(MemoryStore):
    """Controls that cannot be read."""

    def load_controls(self) -> Controls:
        raise StoreRefused


def test_no_queue_is_opened_or_closed_on_controls_that_cannot_be_read() -> None:
    front = Front(store=Mute())
    front.event_sources.enabled[Tier.MONEY] = False
    run_dispatch()
    assert closed(front) == [Tier.MONEY]
    assert "dispatched" in front.journal.actions()
    wiring.install(None)


# --- what a pause does to the jobs


def test_a_job_in_flight_ends_while_its_tier_is_paused() -> None:
    house = House()
    running = house.accept(data={"order": "order-1"})

    def pause(_: Work) -> Outcome:
        house.stop(Scope.TIER, "money")
        return DONE

    house.scripts[EffectClass.KEYED].steps.append(pause)
    house.consume()
    waiting = house.accept(data={"order": "order-2"})
    house.consume()
    assert (house.job(running).state, house.job(running).attempts) == ("completed", 1)
    assert (house.job(waiting).state, house.job(waiting).attempts) == ("queued", 0)


def test_jobs_of_a_paused_tier_are_charged_nothing_and_lose_no_place() -> None:
    house = House()
    ids = house.accept_many(5)
    before = {job_id: house.job(job_id) for job_id in ids}
    messages = [each.id for each in house.messages()]
    house.stop(Scope.TIER, "money")
    for _ in range(4 * 60):  # two hours, for consumers that are called all the same
        house.clock.advance(timedelta(seconds=30))
        house.consume()
    assert [house.job(job_id) for job_id in ids] == list(before.values())
    assert [each.id for each in house.messages()] == messages
    house.lift(Scope.TIER, "money")
    house.pass_time(2 * MINUTE)
    assert {(house.job(job_id).state, house.job(job_id).attempts) for job_id in ids} == {("completed", 1)}
