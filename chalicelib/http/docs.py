"""The API's own description: /openapi.json for machines, /docs for people. Both public, both made once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chalice.app import Blueprint, Response

from chalicelib.domain.jobtype import JobType
from chalicelib.http import (
    alerts,
    audit,
    batches,
    bulk,
    callbacks,
    callbacks_ses,
    callbacks_stripe,
    callbacks_twilio,
    control,
    dashboard,
    dead_letters,
    endpoints,
    health,
    job_actions,
    jobs,
    metrics,
    queues,
    rate_limits,
    schedules,
    suppressions,
    venues,
)
from chalicelib.http.openapi import describe
from chalicelib.http.operations import Answer, Operation, Operations, Shapes
from chalicelib.http.page import POLICY, page
from chalicelib.http.texts import UNCHANGED, Text, answer
from chalicelib.http.views import view
from chalicelib.wiring import Service, service

routes = Blueprint(__name__)

KEPT_FOR = "public, max-age=300"


@dataclass(frozen=True, slots=True)
class Described:
    """The description, for machines and for people."""

    json: Text
    html: Text


class _Once:
    """Makes the description of a container's service once."""

    def __init__(self) -> None:
        self._of: Service | None = None
        self._made: Described | None = None

    def of(self, made: Service) -> Described:
        """Return the description of this service."""
        if self._made is None or self._of is not made:
            self._of, self._made = made, described(made.types, made.settings.public_base_url)
        return self._made


_once = _Once()


def described(types: Mapping[str, JobType], server: str | None) -> Described:
    """Return the description of everything in CHAPTERS."""
    document = describe(CHAPTERS, types, server=server)
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return Described(Text(text), Text(page(document)))


@routes.route("/openapi.json", methods=["GET"], content_types=[])
@view
def read_openapi() -> Response:
    """Return the OpenAPI document."""
    made = _once.of(service())
    return answer(routes.current_request, made.json, {"Content-Type": "application/json"}, kept=KEPT_FOR)


@routes.route("/docs", methods=["GET"], content_types=[])
@view
def read_docs() -> Response:
    """Return the same as a page: no script, nothing from elsewhere."""
    made = _once.of(service())
    headers = {"Content-Type": "text/html; charset=utf-8", "Content-Security-Policy": POLICY}
    headers |= {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
    return answer(routes.current_request, made.html, headers, kept=KEPT_FOR)


OPERATIONS: Operations = {
    ("GET", "/openapi.json"): Operation(
        id="readOpenapi",
        tag="operations",
        summary="Read this description, OpenAPI 3.1",
        who="anyone",
        public=True,
        answers={
            200: Answer("The document.", {"type": "object"}, ("ETag",)),
            304: UNCHANGED,
        },
    ),
    ("GET", "/docs"): Operation(
        id="readDocs",
        tag="operations",
        summary="Read this description as a page",
        who="anyone",
        public=True,
        answers={
            200: Answer("The page.", {"type": "string"}, ("ETag",), media="text/html"),
            304: UNCHANGED,
        },
    ),
}
# A module of views adds its own two mappings here.
CHAPTERS: Sequence[tuple[Operations, Shapes]] = (
    (jobs.OPERATIONS, jobs.SCHEMAS),
    (batches.OPERATIONS, batches.SCHEMAS),
    (bulk.OPERATIONS, bulk.SCHEMAS),
    (job_actions.OPERATIONS, job_actions.SCHEMAS),
    (schedules.OPERATIONS, schedules.SCHEMAS),
    (endpoints.OPERATIONS, endpoints.SCHEMAS),
    (control.OPERATIONS, control.SCHEMAS),
    (queues.OPERATIONS, queues.SCHEMAS),
    (dead_letters.OPERATIONS, dead_letters.SCHEMAS),
    (audit.OPERATIONS, audit.SCHEMAS),
    (rate_limits.OPERATIONS, rate_limits.SCHEMAS),
    (suppressions.OPERATIONS, suppressions.SCHEMAS),
    (callbacks_ses.OPERATIONS, callbacks_ses.SCHEMAS),
    (callbacks_stripe.OPERATIONS, callbacks.SCHEMAS | callbacks_stripe.SCHEMAS),
    (callbacks_twilio.OPERATIONS, callbacks_twilio.SCHEMAS),
    (alerts.OPERATIONS, alerts.SCHEMAS),
    (metrics.OPERATIONS, metrics.SCHEMAS),
    (venues.OPERATIONS, venues.SCHEMAS),
    (health.OPERATIONS, health.SCHEMAS),
    (dashboard.OPERATIONS, {}),
    (OPERATIONS, {}),
)
