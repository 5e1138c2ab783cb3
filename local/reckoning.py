"""The reckoning of an on-sale: what the providers did, against what the records say, job by job."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# By job type: whose effect it has, what the ledger calls it, and how the demo counts it.
OPERATIONS = {
    "payment.process": ("stripe", "charge"),
    "payment.retry": ("stripe", "charge"),
    "payment.refund": ("stripe", "refund"),
    "payment.payout": ("stripe", "transfer"),
    "ticket.mint": ("solana", "mint"),
    "email.send": ("ses", "mail"),
    "sms.send": ("twilio", "sms"),
    "webhook.deliver": ("hooks", "delivery"),
    "order.fulfill": ("orders", "fulfillment"),
}
HEADINGS = {
    ("stripe", "charge"): "charges made",
    ("stripe", "refund"): "refunds made",
    ("stripe", "transfer"): "payouts made",
    ("solana", "mint"): "tickets minted",
    ("ses", "mail"): "mails sent",
    ("twilio", "sms"): "texts sent",
    ("hooks", "delivery"): "webhooks posted",
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
    provider_object: str | None = None
    entered_as: str | None = None  # what the ledger names instead: a retried payment's first job, a mint
    told_by: str | None = None  # the job that tells of its end


@dataclass(frozen=True)
class Reckoning:
    """Counts by name, and one line for each thing that does not agree."""

    counts: Mapping[str, int]
    disagreements: Sequence[str]


def reckon(records: Sequence[Record], effects: Sequence[Mapping[str, Any]]) -> Reckoning:
    """Hold the records against the ledger: a completed job has its one effect, a refused one has none."""
    effects = [effect for effect in effects if not is_alert(effect)]
    by_job: dict[str, list[Mapping[str, Any]]] = {}
    for effect in effects:
        by_job.setdefault(_name(effect), []).append(effect)
    groups: dict[str, list[Record]] = {}
    for record in records:
        groups.setdefault(record.entered_as or record.id, []).append(record)
    disagreements = [
        f"{effect['provider']} {effect['operation']} of {_name(effect)}: no such job was accepted"
        for effect in effects
        if _name(effect) not in groups
    ]
    for job_id, group in groups.items():
        disagreements += _disagreements(group, by_job.get(job_id, []))
    states = Counter((record.type, record.state, record.reason) for record in records)
    operations = Counter((effect["provider"], effect["operation"]) for effect in effects)
    counts = {
        "completed": sum(count for (_, state, _), count in states.items() if state == "completed"),
        "declined": states["payment.process", "failed", "refused"],
        **{heading: operations[effect] for effect, heading in HEADINGS.items()},
    }
    return Reckoning(counts, disagreements)


def is_alert(effect: Mapping[str, Any]) -> bool:
    """Whether somebody on call was texted or called: what a job sends names the job in its callback."""
    return effect["provider"] == "twilio" and effect["jobId"] is None


def _name(effect: Mapping[str, Any]) -> str:
    """Return what the ledger knows an effect by: the job, or on the chain, which knows no jobs, the mint."""
    return str(effect["jobId"] or effect["idempotencyKey"])


def _disagreements(records: Sequence[Record], effects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Hold the records whose effects the ledger enters under one job against what is there."""
    first, names = records[0], ", ".join(f"{each.id} ({each.type})" for each in records)
    wanted = [{("completed", None): 1, ("failed", "refused"): 0}.get((r.state, r.reason)) for r in records]
    open_ = [record for record, count in zip(records, wanted, strict=True) if count is None]
    if open_:
        return [
            f"{each.id} ({each.type}) ended neither completed nor refused: it is {each.state} "
            f"{each.reason or ''}".rstrip()
            for each in open_
        ]
    provider, operation = OPERATIONS[first.type]
    own = [each for each in effects if (each["provider"], each["operation"]) == (provider, operation)]
    found: list[str] = []
    if len(own) != sum(count or 0 for count in wanted):
        states = ", ".join(record.state for record in records)
        found.append(f"{names} is {states} and has {len(own)} x {operation}, not {sum(c or 0 for c in wanted)}")
    if len(own) != len(effects):
        found.append(f"{names} has effects that are not its own: {len(effects) - len(own)}")
    found += [
        f"{names} was to move {first.amount} and moved {each['amount']}"
        for each in own
        if each["amount"] != first.amount
    ]
    return found
