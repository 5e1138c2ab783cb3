"""The commands about webhook endpoints; a secret is shown when it is made, and never again."""

from collections.abc import Mapping
from typing import Any

from queue_service.client import Client
from queue_service.command import LIST, REASON, Arguments, Command, Table, listed, option, present, segment

Told = Mapping[str, Any]
ENDPOINTS = ("id", "url", "active", "disabled", "failingSince", "description")


def _endpoints(client: Client, given: Arguments) -> Table:
    return listed(client, "/v1/endpoints", "endpoints", given, ENDPOINTS, venueId=given.venue)


def _endpoint(client: Client, given: Arguments) -> Told:
    return _call(client, given, "GET")


def _add(client: Client, given: Arguments) -> Told:
    body = present(url=given.to, description=given.description, reason=given.reason)
    made: Told = client.call("POST", "/v1/endpoints", body=body, query={"venueId": given.venue})
    return made


def _switch_on(client: Client, given: Arguments) -> Told:
    return _switch(client, given, active=True)


def _switch_off(client: Client, given: Arguments) -> Told:
    return _switch(client, given, active=False)


def _switch(client: Client, given: Arguments, *, active: bool) -> Told:
    """Have things posted to an endpoint or not; the rest of what is said of it stays."""
    stands = _endpoint(client, given)
    body = {"url": stands["url"], "description": stands["description"], "active": active}
    return _call(client, given, "PUT", body=body | present(reason=given.reason))


def _rotate(client: Client, given: Arguments) -> Told:
    return _call(client, given, "POST", "/rotate-secret", body=present(reason=given.reason))


def _try(client: Client, given: Arguments) -> Told:
    return _call(client, given, "POST", "/test", body={})


def _delete(client: Client, given: Arguments) -> Told:
    return _call(client, given, "DELETE", body=present(reason=given.reason))


def _call(client: Client, given: Arguments, method: str, action: str = "", body: Told | None = None) -> Told:
    path = f"/v1/endpoints/{segment(given.endpoint)}{action}"
    told: Told = client.call(method, path, body=body, query={"venueId": given.venue})
    return told


ENDPOINT = option("endpoint", "the endpoint's id, or default")
VENUE = option("--venue", "whose; an administrator must say so, unless the token does", metavar="VENUE")
SOME = "ep_01M86YH7Y9QZ8TYAHW9PZY7ZTZ"
ENDPOINT_COMMANDS: tuple[Command, ...] = (
    Command(
        "endpoints",
        "list",
        "list a venue's webhook endpoints, and how they fare",
        (VENUE, *LIST),
        _endpoints,
        ("endpoints list --venue v1 --all",),
    ),
    Command(
        "endpoints",
        "show",
        "show a webhook endpoint",
        (ENDPOINT, VENUE),
        _endpoint,
        (f"endpoints show {SOME} --venue v1",),
    ),
    Command(
        "endpoints",
        "add",
        "make a webhook endpoint, and show its secret this once",
        (
            option("to", "the URL that events are posted to"),
            option("--description", "what it is", metavar="TEXT"),
            VENUE,
            REASON,
        ),
        _add,
        ("endpoints add https://shop.example/hooks --venue v1",),
    ),
    Command(
        "endpoints",
        "off",
        "post nothing to a webhook endpoint any more",
        (ENDPOINT, VENUE, REASON),
        _switch_off,
        (f"endpoints off {SOME} --reason 'The shop moves'",),
    ),
    Command(
        "endpoints",
        "on",
        "post to a webhook endpoint again, whatever disabled it",
        (ENDPOINT, VENUE, REASON),
        _switch_on,
        (f"endpoints on {SOME} --reason 'The shop is back'",),
    ),
    Command(
        "endpoints",
        "rotate",
        "change a webhook endpoint's secret, and show the new one this once",
        (ENDPOINT, VENUE, REASON),
        _rotate,
        ("endpoints rotate default --venue v1 --reason 'It leaked'",),
    ),
    Command(
        "endpoints",
        "test",
        "post a test event to a webhook endpoint",
        (ENDPOINT, VENUE),
        _try,
        (f"endpoints test {SOME} --venue v1",),
    ),
    Command(
        "endpoints",
        "delete",
        "delete a webhook endpoint",
        (ENDPOINT, VENUE, REASON),
        _delete,
        (f"endpoints delete {SOME} --reason 'The shop has closed'",),
    ),
)
