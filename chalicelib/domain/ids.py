"""Identities that sort by the time they were made at: ULIDs, 48 bits of milliseconds and 80 bits of chance."""

from datetime import UTC, datetime, timedelta

from chalicelib.domain.job import JobId

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base 32: sorts as its numbers do
TIME_BITS, RANDOM_BITS = 48, 80
JOB = "job_"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def ulid(at: datetime, chance: int = 0, *, later: timedelta = timedelta(0)) -> str:
    """Return the identity of a moment, moved by `later`; without chance it is the first of its millisecond.

    Moments that no identity can name give the nearest that one can.
    """
    milliseconds = (at - _EPOCH) // _MILLISECOND + later // _MILLISECOND
    number = min(max(milliseconds, 0), 2**TIME_BITS - 1) << RANDOM_BITS | chance
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def job_id(at: datetime, chance: int = 0, *, later: timedelta = timedelta(0)) -> JobId:
    """Return a job's identity; arguments as for `ulid`."""
    return JobId(JOB + ulid(at, chance, later=later))
