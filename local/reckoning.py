"""The reckoning of an on-sale: what the providers did, against what the records say, job by job."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OPERATIONS = {
    "payment.process": ("stripe", "charge"),
    "payment.refund": ("stripe", "refund"),
    "email.send": ("ses", "mail"),
    "sms.send": ("twilio", "sms"),
    "order.fulfill": ("orders", "fulfillment"),
}
HEADINGS = {
    ("stripe", "charge"): "charges made",
    ("stripe", "refund"): "refunds made",
    ("ses", "mail"): "mails sent",
    ("orders", "fulfillment"): "orders fulfilled",
}


@dataclass(frozen=True)
class Record:
    """A job as GET /v1/jobs/{id} gives it, and the money that it was asked to move, in minor units, or None."""

    id: str
    type: str
    state: str
    reason: str | None
    amount: int | None
    result: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reckoning:
    """Counts by name, and one line for each thing that does not agree."""

    counts: Mapping[str, int]
    disagreements: Sequence[str]


def reckon(records: Sequence[Record], effects: Sequence[Mapping[str, Any]]) -> Reckoning:
    """Hold the records against the ledger: a completed job has its one effect, a refused one has none."""
    by_job: dict[str, list[Mapping[str, Any]]] = {}
    for effect in effects:
        by_job.setdefault(str(effect["jobId"]), []).append(effect)
    known = {record.id for record in records}
    disagreements = [
        f"{effect['provider']} {effect['operation']} of {effect['jobId']}: no such job was accepted"
        for effect in effects
        if effect["jobId"] not in known
    ]
    for record in records:
        disagreements += _disagreements(record, by_job.get(record.id, []))
    states = Counter((record.type, record.state, record.reason) for record in records)
    operations = Counter((effect["provider"], effect["operation"]) for effect in effects)
    counts = {
        "completed": sum(count for (_, state, _), count in states.items() if state == "completed"),
        "declined": states["payment.process", "failed", "refused"],
        **{heading: operations[effect] for effect, heading in HEADINGS.items()},
    }
    return Reckoning(counts, disagreements)


def _disagreements(record: Record, effects: Sequence[Mapping[str, Any]]) -> list[str]:
    provider, operation = OPERATIONS[record.type]
    name = f"{record.id} ({record.type})"
    wanted = {("completed", None): 1, ("failed", "refused"): 0}.get((record.state, record.reason))
    if wanted is None:
        return [
            f"{name} ended neither completed nor refused: it is {record.state} {record.reason or ''}".rstrip()
        ]
    found: list[str] = []
    own = [each for each in effects if (each["provider"], each["operation"]) == (provider, operation)]
    if len(own) != wanted:
        found.append(f"{name} is {record.state} and has {len(own)} x {operation}, not {wanted}")
    if len(own) != len(effects):
        found.append(f"{name} has effects that are not its own: {len(effects) - len(own)}")
    found += [
        f"{name} was to move {record.amount} and moved {each['amount']}"
        for each in own
        if each["amount"] != record.amount
    ]
    return found
