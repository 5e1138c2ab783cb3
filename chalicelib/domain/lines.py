"""A job and an audit entry as a line of JSON, and back: readable for years, and without this service."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, get_args

from chalicelib.domain.archive import Damaged
from chalicelib.domain.job import Attempt, Job, Poll, Reason, State
from chalicelib.domain.outcome import Failure
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Entry

WORDS: Mapping[str, type[StrEnum]] = {"tier": Tier, "state": State, "reason": Reason, "poll": Poll}


def job_line(job: Job) -> str:
    """Return a job, its payload with it, as a line; what it has not is left out."""
    return _line(asdict(job))


def read_job(line: str) -> Job:
    """Return the job of a line; what this version does not know is left out. Raises Damaged."""
    try:
        told = _told(Job, json.loads(line))
        told |= {name: word(told[name]) for name, word in WORDS.items() if told.get(name) is not None}
        if told.get("error") is not None:
            told["error"] = Failure(**told["error"])
        told["history"] = tuple(Attempt(**_told(Attempt, each)) for each in told.get("history", ()))
        return Job(**told)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged("A line of the archive is no job.") from error


def entry_line(entry: Entry) -> str:
    """Return an audit entry as a line."""
    return _line(asdict(entry))


def read_entry(line: str) -> Entry:
    """Return the audit entry of a line. Raises Damaged."""
    try:
        return Entry(**_told(Entry, json.loads(line)))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged("A line of the archive is no audit entry.") from error


def _line(value: Mapping[str, Any]) -> str:
    there = {name: each for name, each in value.items() if each is not None}
    return json.dumps(there, default=_moment, separators=(",", ":"), ensure_ascii=False)


def _moment(value: object) -> str:
    if not isinstance(value, datetime):
        raise TypeError(f"{type(value).__name__} has no place in the archive")
    return value.isoformat(timespec="milliseconds")


def _told(of: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a line tells of the fields of a dataclass, moments read; what it has not is None."""
    told: dict[str, Any] = {}
    for each in fields(of):
        if each.name in value:
            is_moment = "datetime" in str(each.type)
            told[each.name] = datetime.fromisoformat(value[each.name]) if is_moment else value[each.name]
        elif each.default is MISSING:
            if type(None) not in get_args(each.type):
                raise KeyError(each.name)
            told[each.name] = None
    return told
