"""STAND-IN, never deployed: what Stripe's calls have in common, whatever they are about.

Forms come flat, as they stand in the body (`metadata[job_id]`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn

from local.standins.faults import Faults, Mode, Provider
from local.standins.wire import Answer

PAGE = 10  # objects on a page, unless the call says otherwise; at most 100


class Refusal(Exception):
    """The call is answered with an error; `begun`: execution had begun, so the answer is kept."""

    def __init__(self, status: int, *, begun: bool, **error: Any) -> None:
        super().__init__(error.get("message", ""))
        self.answer = Answer(status, {"error": error})
        self.begun = begun


def known_fields(form: Mapping[str, str], known: Collection[str]) -> None:
    """Refuse a call that says what nobody here knows of."""
    for name in form:
        if name.split("[", 1)[0] not in known:
            invalid(f"Received unknown parameter: {name}", name, code="parameter_unknown")


def invalid(message: str, param: str | None, *, code: str | None = None, status: int = 400) -> NoReturn:
    """Refuse a call before its execution begins, so that nothing is kept under its key."""
    error = {"type": "invalid_request_error", "message": message}
    named = {name: text for name, text in (("param", param), ("code", code)) if text is not None}
    raise Refusal(status, begun=False, **error, **named)


def metadata_of(form: Mapping[str, str]) -> dict[str, str]:
    """Return what a call wants to have noted with its object."""
    return {name[9:-1]: text for name, text in form.items() if name.startswith("metadata[")}


def page_of(
    url: str, form: Mapping[str, str], find: Callable[[str | None, int], Sequence[dict[str, Any]]]
) -> dict[str, Any]:
    """Return the page that a call asks for; `find(after, limit)` gives objects, newest first."""
    limit = min(int(form.get("limit", PAGE)), 100)
    found = find(form.get("starting_after"), limit + 1)
    return {"object": "list", "url": url, "has_more": len(found) > limit, "data": found[:limit]}


def strike(faults: Faults, *others: Mode) -> Mode | None:
    """Take up a fault that strikes once execution has begun; a 500 is answered here."""
    fault = faults.take(Provider.STRIPE, (Mode.STATUS_500, *others))
    if fault is Mode.STATUS_500:
        raise Refusal(500, begun=True, type="api_error", message="An unknown error occurred.")
    return fault
