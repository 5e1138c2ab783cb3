"""The commands about queues, dead letters, limits, stops and schedules."""

from collections.abc import Mapping
from typing import Any

from queue_service.client import Client
from queue_service.command import (
    LIST,
    QUEUE,
    REASON,
    UNTIL,
    WHY,
    Arguments,
    Command,
    Table,
    Unusable,
    ahead,
    listed,
    option,
    present,
    segment,
)
from queue_service.job_commands import COLUMNS as JOB_COLUMNS

Told = Mapping[str, Any]
DEPTHS = (
    "queue",
    "state",
    "waiting=lanes.main.waiting",
    "inFlight=lanes.main.inFlight",
    "delayed=lanes.main.delayed",
    "express=lanes.express.waiting",
    "parked=counts.parked",
    "failed=counts.failed",
    "poison",
    "oldestAge",
    "why=stops.0.reason",
)
GROUPS = ("fingerprint", "count", "firstSeen", "lastSeen", "exampleId", "error=error.message")
LIMITS = (
    "key",
    "maxPerSecond=limit.maxPerSecond",
    "maxConcurrent=limit.maxConcurrent",
    "burstSize=limit.burstSize",
    "cooldownMs=limit.cooldownMs",
    "tokens",
    "inFlight",
    "stopped",
)
STOPS = ("scope", "value", "since", "until", "owner", "reason")
SAID = ("name", "cronExpression", "timeZone", "job", "missed", "version")  # what a change says whole
SCHEDULES = ("id", "name", "cronExpression", "timeZone", "active", "nextRun")


# --- queues and their dead letters


def _queues(client: Client, _: Arguments) -> Table:
    return Table(client.call("GET", "/v1/queues")["queues"], DEPTHS)


def _queue(client: Client, given: Arguments) -> Told:
    shown: Told = client.call("GET", f"/v1/queues/{given.queue}")
    return shown


def _pause(client: Client, given: Arguments) -> Told:
    body = present(reason=given.reason, until=ahead(given.until))
    paused: Told = client.call("POST", f"/v1/queues/{given.queue}/pause", body=body)
    return paused


def _resume(client: Client, given: Arguments) -> Told:
    path = f"/v1/queues/{given.queue}/resume"
    resumed: Told = client.call("POST", path, body=present(reason=given.reason))
    return resumed


def _groups(client: Client, given: Arguments) -> Table:
    """Return the groups of dead letters; with `--all` of every page, counted together."""
    path = f"/v1/queues/{given.queue}/dead-letters"
    groups: dict[str, dict[str, Any]] = {}
    cursor = None
    while True:
        page = client.call("GET", path, query={"cursor": cursor})
        for group in page["groups"]:
            kind = group["fingerprint"]
            groups[kind] = _together(groups[kind], group) if kind in groups else dict(group)
        cursor = page["cursor"]
        if cursor is None or not given.all:
            note = None if cursor is None else "There are more dead letters: --all counts them, too."
            return Table(sorted(groups.values(), key=lambda group: -group["count"]), GROUPS, note)


def _together(one: Told, other: Told) -> dict[str, Any]:
    return {
        **one,
        "count": one["count"] + other["count"],
        "firstSeen": min(one["firstSeen"], other["firstSeen"]),
        "lastSeen": max(one["lastSeen"], other["lastSeen"]),
    }


def _dead_letters(client: Client, given: Arguments) -> Table:
    path = f"/v1/queues/{given.queue}/dead-letters"
    return listed(client, path, "jobs", given, JOB_COLUMNS, fingerprint=given.fingerprint)


# --- limits and stops


def _limits(client: Client, _: Arguments) -> Table:
    return Table(client.call("GET", "/v1/rate-limits")["rateLimits"], LIMITS)


def _limit(client: Client, given: Arguments) -> Told:
    shown: Told = client.call("GET", f"/v1/rate-limits/{segment(given.provider)}")
    return shown


def _set_limit(client: Client, given: Arguments) -> Told:
    """Set the figures that are named; the others stay as they are."""
    path = f"/v1/rate-limits/{segment(given.provider)}"
    named = present(
        maxPerSecond=given.max_per_second,
        maxConcurrent=given.max_concurrent,
        burstSize=given.burst_size,
        cooldownMs=given.cooldown_ms,
    )
    if not named:
        raise Unusable("Name a figure: --max-per-second, --max-concurrent, --burst-size or --cooldown-ms.")
    stands: Told = client.call("GET", path)["limit"]
    done: Told = client.call("PUT", path, body={**stands, **named, "reason": given.reason})
    return done


def _reset_limit(client: Client, given: Arguments) -> Told:
    path = f"/v1/rate-limits/{segment(given.provider)}/reset"
    done: Told = client.call("POST", path, body=present(reason=given.reason))
    return done


def _stop(client: Client, given: Arguments) -> Table:
    body = _what(given) | present(until=ahead(given.until))
    return Table(client.call("POST", "/v1/rate-limits/emergency-stop", body=body)["stops"], STOPS)


def _go_on(client: Client, given: Arguments) -> Table:
    return Table(client.call("POST", "/v1/rate-limits/resume", body=_what(given))["stops"], STOPS)


def _what(given: Arguments) -> dict[str, Any]:
    """Return the one thing that is to be stopped or resumed, and why."""
    what = present(provider=given.provider, venueId=given.venue, type=given.type)
    what |= {"scope": "all"} if given.all else {}
    if len(what) != 1:
        raise Unusable("Name one thing: --provider, --venue, --type or --all.")
    return {**what, "reason": given.reason}


# --- schedules


def _schedules(client: Client, given: Arguments) -> Table:
    return listed(client, "/v1/schedules", "schedules", given, SCHEDULES)


def _schedule(client: Client, given: Arguments) -> Told:
    shown: Told = client.call("GET", f"/v1/schedules/{segment(given.schedule)}")
    return shown


def _switch_on(client: Client, given: Arguments) -> Told:
    return _switch(client, given, active=True)


def _switch_off(client: Client, given: Arguments) -> Told:
    return _switch(client, given, active=False)


def _switch(client: Client, given: Arguments, *, active: bool) -> Told:
    """Let a schedule run or not; it is refused if somebody has changed it since it was read here."""
    stands = _schedule(client, given)
    said = {name: stands[name] for name in SAID} | {"active": active} | present(reason=given.reason)
    done: Told = client.call("PUT", f"/v1/schedules/{segment(given.schedule)}", body=said)
    return done


def _run_schedule(client: Client, given: Arguments) -> Told:
    path = f"/v1/schedules/{segment(given.schedule)}/run"
    done: Told = client.call("POST", path, body=present(reason=given.reason))
    return done


PROVIDER = option("provider", "the provider's group, such as stripe")
SCHEDULE = option("schedule", "the schedule's id")
WHAT = (
    option("--provider", "a provider, or a group of them, such as stripe"),
    option("--venue", "a venue"),
    option("--type", "a job type"),
    option("--all", "everything", action="store_true"),
)
SOME_SCHEDULE = "schedule_01M86YH7Y9QZ8TYAHW9PZY7ZTZ"
ALL = option("--all", "count every dead letter, not the latest thousand alone", action="store_true")
QUEUE_COMMANDS: tuple[Command, ...] = (
    Command("queues", "", "show what waits in every queue, and since when", (), _queues, ("queues",)),
    Command("queues", "show", "show a queue and what holds it back", (QUEUE,), _queue, ("queues show money",)),
    Command(
        "queues",
        "pause",
        "begin no job of a queue any more",
        (QUEUE, WHY, UNTIL),
        _pause,
        ("queues pause money --reason 'The bank is down' --until 30m",),
    ),
    Command(
        "queues",
        "resume",
        "end a queue's pause",
        (QUEUE, REASON),
        _resume,
        ("queues resume money --reason 'The bank is back'",),
    ),
    Command(
        "dlq",
        "list",
        "list a queue's dead letters in groups, by type and error",
        (QUEUE, ALL),
        _groups,
        ("dlq list money --all",),
    ),
    Command(
        "dlq",
        "jobs",
        "list the dead letters of one group",
        (QUEUE, option("fingerprint", "the group's, such as payment.process:timeout"), *LIST),
        _dead_letters,
        ("dlq jobs money payment.process:timeout --limit 100",),
    ),
    Command("limits", "list", "list the providers' limits", (), _limits, ("limits list",)),
    Command("limits", "show", "show a provider's limit", (PROVIDER,), _limit, ("limits show stripe",)),
    Command(
        "limits",
        "set",
        "set figures of a provider's limit, for all functions",
        (
            PROVIDER,
            option("--max-per-second", "calls that may start in a second", type=float, metavar="N"),
            option("--max-concurrent", "calls that may be in flight", type=int, metavar="N"),
            option("--burst-size", "calls that may start at once after a rest", type=int, metavar="N"),
            option("--cooldown-ms", "how long jobs wait when too many are in flight", type=int, metavar="MS"),
            REASON,
        ),
        _set_limit,
        ("limits set stripe --max-per-second 5 --reason 'Stripe answers 429'",),
    ),
    Command(
        "limits",
        "reset",
        "fill a provider's tokens up; what is in flight stays so",
        (PROVIDER, REASON),
        _reset_limit,
        ("limits reset stripe",),
    ),
    Command(
        "stop",
        "",
        "begin no job of a provider, a venue, a type, or none at all",
        (*WHAT, WHY, UNTIL),
        _stop,
        (
            "stop --provider stripe --reason 'Chargebacks' --until 2h",
            "stop --all --reason 'A wrong deployment'",
        ),
    ),
    Command(
        "resume",
        "",
        "end such a stop",
        (*WHAT, WHY),
        _go_on,
        ("resume --provider stripe --reason 'Mended'",),
    ),
    Command("schedules", "list", "list the schedules", LIST, _schedules, ("schedules list --all",)),
    Command(
        "schedules",
        "show",
        "show a schedule and its next runs",
        (SCHEDULE,),
        _schedule,
        (f"schedules show {SOME_SCHEDULE}",),
    ),
    Command(
        "schedules",
        "off",
        "let a schedule make no jobs any more",
        (SCHEDULE, REASON),
        _switch_off,
        (f"schedules off {SOME_SCHEDULE} --reason 'It mails everybody'",),
    ),
    Command(
        "schedules",
        "on",
        "let a schedule make jobs again",
        (SCHEDULE, REASON),
        _switch_on,
        (f"schedules on {SOME_SCHEDULE}",),
    ),
    Command(
        "schedules",
        "run",
        "run a schedule now, once",
        (SCHEDULE, REASON),
        _run_schedule,
        (f"schedules run {SOME_SCHEDULE} --reason 'Missed on Sunday'",),
    ),
)
