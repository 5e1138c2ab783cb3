"""What a job, a key and the controls look like in their tables. Pure.

DynamoDB bills by the kilobyte, names included, so names have two letters, moments are numbers of
milliseconds, and what has its usual value is absent. Attributes that this version does not know are left
alone: reading ignores them, and a change writes only what it changes.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from operator import attrgetter
from typing import Any

from chalicelib.aws.attributes import (
    MILLISECOND,
    Item,
    Value,
    at,
    document,
    millis,
    moment,
    number,
    read_document,
    read_moment,
    read_number,
    read_text,
    seconds,
    text,
)
from chalicelib.aws.fields import COUNT, FAILURE, FLAG, FROM_ZERO, HISTORY, JSON, MOMENT, TEXT, Kind, enum
from chalicelib.domain.controls import Control, Controls, Scope
from chalicelib.domain.errors import StoreRefused
from chalicelib.domain.job import AT_REST, Job, JobId, KeyId, Poll, Reason, StageId, State
from chalicelib.domain.keys import Key
from chalicelib.domain.policies import MAX_DELAY, Tier
from chalicelib.domain.ports import AGENDA_SHARDS
from chalicelib.domain.search import Index, places

APART_ABOVE = 1024  # bytes of payload; DynamoDB bills every write of a record by its whole size
APART = "#payload"
CONTROLS_ID = "controls"
LONGEST_ID = 2048  # bytes; DynamoDB refuses to look for longer ones

# TTL only collects what nobody will ask for any more; whether something has expired is decided in code.
# A payload apart, or a key, cannot be told how long its job stays open. It is kept for longer than any job
# does: operators are alerted about a job that waits for minutes, and these wait for more than a year.
KEPT_PAST_DUE = timedelta(days=400)
KEPT_PAST_PERIOD = MAX_DELAY + KEPT_PAST_DUE


# What was accepted: written once.
ACCEPTED: Mapping[str, tuple[str, Kind]] = {
    "id": ("id", TEXT),
    "type": ("ty", TEXT),
    "tier": ("ti", enum(Tier)),
    "venue_id": ("ve", TEXT),
    "submitted_by": ("sb", TEXT),
    "user_id": ("us", TEXT),
    "key_id": ("ke", TEXT),
    "payload_hash": ("ph", TEXT),
    "payload": ("pl", JSON),
    "payload_apart": ("pa", FLAG),
    "callback_url": ("cb", TEXT),
    "callback_endpoint_id": ("ce", TEXT),
    "priority": ("pr", COUNT),
    "created_at": ("cr", MOMENT),
    "batch_id": ("bi", TEXT),
    "batch_index": ("bx", COUNT),
}
# What moves. The look (`ag`, `nl`, `lo`) and `od` make up the indexes and are written by `look`.
MOVING: Mapping[str, tuple[str, Kind]] = {
    "due": ("du", MOMENT),
    "state": ("st", enum(State)),
    "next_attempt_at": ("na", MOMENT),
    "max_attempts": ("ma", COUNT),
    "version": ("vn", COUNT),
    "fence": ("fe", FROM_ZERO),
    "generation": ("ge", FROM_ZERO),
    "attempts": ("at", FROM_ZERO),
    "reason": ("re", enum(Reason)),
    "stage": ("sg", TEXT),
    "claim_id": ("ci", TEXT),
    "claimed_at": ("ca", MOMENT),
    "lease_until": ("le", MOMENT),
    "begun": ("be", FLAG),
    "doubt": ("do", MOMENT),
    "key_used_at": ("ku", MOMENT),
    "poll": ("po", enum(Poll)),
    "poll_since": ("ps", MOMENT),
    "handle": ("ha", TEXT),
    "result": ("rs", JSON),
    "error": ("er", FAILURE),
    "processed_at": ("pt", MOMENT),
    "finished_at": ("fi", MOMENT),
    "expires_at": ("xp", MOMENT),
    "history": ("hi", HISTORY),
    "erased_at": ("ea", MOMENT),
}
LOOK: Mapping[str, tuple[str, Kind]] = {
    "next_look": ("nl", MOMENT),
    "looks": ("lo", FROM_ZERO),
    "overdue": ("od", Kind(text, lambda _: True)),
}
# What places a job in the indexes of `domain/search.py`; for its venue and user it has `ve` and `us`.
BATCH = "bt"
SEARCH: Mapping[Index, str] = {Index.SEARCH: "sx", Index.VENUE_SEARCH: "vx", Index.FINGERPRINT: "fp"}
TTL = "expires_at"
NOTHING = document({})  # the payload of a job that was erased

_READERS = {name: (attr, kind.read) for attr, (name, kind) in {**ACCEPTED, **MOVING, **LOOK}.items()}
_ABSENT: Mapping[str, Any] = {
    "user_id": None,
    "payload": None,
    "payload_apart": False,
    "callback_url": None,
    "next_look": None,
}
_MOVING_ROWS = tuple((name, kind) for name, kind in MOVING.values())
_moving_values = attrgetter(*MOVING)


@dataclass(frozen=True, slots=True)
class Difference:
    """What a change writes and what it takes away."""

    sets: dict[str, Value] = field(default_factory=dict)
    removes: list[str] = field(default_factory=list)


def job_item(job: Job) -> dict[str, Value]:
    """Return the whole record of a job."""
    item: dict[str, Value] = {}
    for attr, (name, kind) in {**ACCEPTED, **MOVING}.items():
        value = getattr(job, attr)
        if value != kind.usual:
            item[name] = kind.write(value)
    if job.expires_at is not None:
        item[TTL] = seconds(job.expires_at)
    if job.overdue:
        item["od"] = text(job.tier)
    found = places(job)
    item |= {name: text(found[index]) for index, name in SEARCH.items() if index in found}
    if Index.BATCH in found:
        item[BATCH] = text(found[Index.BATCH])
    return item | (look(job) if job.next_look is not None else {})


def job(item: Item) -> Job:
    """Return the job of a record. Raises StoreRefused if a newer version has written what is not known here."""
    fields = dict(_ABSENT)
    try:
        for name, value in item.items():
            if name in _READERS:
                attr, read = _READERS[name]
                fields[attr] = read(value)
        return Job(**fields)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreRefused("A record cannot be read by this version.") from error


def is_job(item: Item) -> bool:
    """Whether an item of the jobs table is a job, and not a payload."""
    return "st" in item


def difference(before: Job, after: Job) -> Difference:
    """Return what turns the record of `before` into that of `after`.

    A look that the change does not move is not written, so that one which `dispatch` moved meanwhile stays
    moved. At rest it is taken away in any case, as is `od`, which `before` may not have seen yet.
    """
    change = Difference()
    for (name, kind), was, now in zip(_MOVING_ROWS, _moving_values(before), _moving_values(after), strict=True):
        if was == now:
            continue
        if now == kind.usual:
            change.removes.append(name)
        else:
            change.sets[name] = kind.write(now)
    if before.erased_at != after.erased_at:
        change.removes.extend(["cb", "ce"])
        if not after.payload_apart:
            change.sets["pl"] = NOTHING
    if before.expires_at != after.expires_at:
        _put(change, TTL, seconds(after.expires_at) if after.expires_at else None)
    if (before.state, before.reason, before.error) != (after.state, after.reason, after.error):
        _search(change, before, after)
    if after.state in AT_REST:
        change.removes.extend(["ag", "nl", "lo", "od"])
        return change
    if (before.next_look, before.looks) != (after.next_look, after.looks):
        change.sets.update(look(after))
    if before.overdue != after.overdue:
        _put(change, "od", text(after.tier) if after.overdue else None)
    return change


def look_difference(before: Job, after: Job) -> Difference:
    """Return what a look writes: itself and its count, and `od` the first time it is past due."""
    change = Difference(sets=look(after))
    if before.overdue != after.overdue:
        _put(change, "od", text(after.tier) if after.overdue else None)
    return change


def _put(change: Difference, name: str, value: Value | None) -> None:
    if value is None:
        change.removes.append(name)
    else:
        change.sets[name] = value


def _search(change: Difference, before: Job, after: Job) -> None:
    """Note where a job that ends, or starts anew, is found and where no longer."""
    was, found = places(before), places(after)
    for index, name in SEARCH.items():
        if was.get(index) != found.get(index):
            _put(change, name, text(found[index]) if index in found else None)


def look(job: Job) -> dict[str, Value]:
    """Return the attributes by which an open job stands on the agenda."""
    if job.next_look is None:
        raise ValueError(f"job {job.id} is open and has no look")
    return {
        "ag": text(agenda_of(job.tier, shard_of(job.id))),
        "nl": moment(job.next_look),
        "lo": number(job.looks),
    }


def shard_of(job_id: JobId) -> int:
    """Return the agenda's shard of a job: the same on every machine and for ever."""
    return zlib.crc32(job_id.encode()) % AGENDA_SHARDS


def agenda_of(tier: Tier, shard: int) -> str:
    """Return the hash key of a shard of the agenda."""
    return f"{tier}#{shard}"


def findable(job_id: str) -> bool:
    """Whether there can be a job of this id; callers may ask for any text, a payload's id among them."""
    # What is printable can be encoded: a lone surrogate would make the table fail instead of answering.
    printable = job_id.isprintable() and "#" not in job_id
    return printable and 0 < len(job_id.encode()) <= LONGEST_ID


def payload_id(job_id: JobId) -> str:
    """Return the id of a payload that is kept apart."""
    return job_id + APART


def payload_item(job: Job) -> dict[str, Value] | None:
    """Return the item of a payload that is too large for the record, else None."""
    payload = document(job.payload)
    if len(payload["S"].encode()) <= APART_ABOVE:
        return None
    return {"id": text(payload_id(job.id)), "pl": payload, TTL: seconds(job.due + KEPT_PAST_DUE)}


def payload(item: Item) -> Mapping[str, Any]:
    """Return the payload of its item."""
    read: Mapping[str, Any] = read_document(item["pl"])
    return read


def key_item(key: Key) -> dict[str, Value]:
    """Return the record of an idempotency key."""
    item = {
        "id": text(key.id),
        "jb": text(key.job_id),
        "ph": text(key.payload_hash),
        "cr": moment(key.created_at),
        "pd": number(key.period // MILLISECOND),
        TTL: seconds(key.created_at + key.period + KEPT_PAST_PERIOD),
    }
    item |= {} if key.stage is None else {"sg": text(key.stage)}
    return item | ({"nt": {"BOOL": True}} if key.natural else {})


def key(item: Item) -> Key:
    """Return the idempotency key of a record."""
    return Key(
        id=KeyId(read_text(item["id"])),
        job_id=JobId(read_text(item["jb"])),
        payload_hash=read_text(item["ph"]),
        natural="nt" in item,
        created_at=read_moment(item["cr"]),
        period=read_number(item["pd"]) * MILLISECOND,
        stage=StageId(read_text(item["sg"])) if "sg" in item else None,
    )


def controls_item(controls: Controls) -> dict[str, Value]:
    """Return the one record of the controls."""
    rows = [
        [
            each.scope,
            each.value,
            each.reason,
            each.owner,
            millis(each.since),
            None if each.until is None else millis(each.until),
        ]
        for each in controls.entries
    ]
    return {"id": text(CONTROLS_ID), "vn": number(controls.version), "en": document(rows)}


def controls(item: Item | None) -> Controls:
    """Return the controls of their record; none if there is no record yet."""
    if item is None:
        return Controls()
    return Controls(
        entries=tuple(_control(*row[:6]) for row in read_document(item["en"])), version=read_number(item["vn"])
    )


def _control(scope: str, value: str, reason: str, owner: str, since: int, until: int | None) -> Control:
    end = None if until is None else at(until)
    return Control(Scope(scope), value, reason, owner, at(since), end)
