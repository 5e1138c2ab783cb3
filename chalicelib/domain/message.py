"""Messages on the queues: ids and a schema version, no payload, nothing personal."""

import json
from dataclasses import dataclass

from chalicelib.domain.errors import Poison
from chalicelib.domain.job import JobId, VenueId

SCHEMA_VERSION = 1
READABLE = frozenset({1})  # one version back, so that a roll-out and a roll-back both read what is queued


@dataclass(frozen=True, slots=True)
class Hint:
    """What a message says: this job may be due."""

    job_id: JobId
    venue_id: VenueId


def encode(hint: Hint) -> str:
    """Return the body of a message."""
    fields = {"v": SCHEMA_VERSION, "jobId": hint.job_id, "venueId": hint.venue_id}
    return json.dumps(fields, separators=(",", ":"))


def decode(body: str) -> Hint:
    """Return what a body says; raises Poison if no job can be made of it."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Poison("The body is not JSON.") from error
    if not isinstance(fields, dict) or fields.get("v") not in READABLE:
        raise Poison("The body has no schema version that is known here.")
    job_id, venue_id = fields.get("jobId"), fields.get("venueId")
    if not (isinstance(job_id, str) and job_id and isinstance(venue_id, str) and venue_id):
        raise Poison("The body names no job and venue.")
    return Hint(JobId(job_id), VenueId(venue_id))
