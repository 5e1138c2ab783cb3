"""The keys that tokens may be signed with: an allow-list by `kid`, so that a rotation needs no deploy."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from chalicelib.domain.errors import QueueServiceError
from chalicelib.domain.ports import Clock, Journal

READ_EVERY = timedelta(minutes=5)  # a key that was taken off the list is refused at most this much later
READ_AT_MOST_EVERY = timedelta(seconds=30)  # strangers' `kid`s cost no more than one read in this time


class KeyRing:
    """The allowed keys; `read` fetches them, each time anew."""

    def __init__(self, read: Callable[[], Mapping[str, str]], *, clock: Clock, journal: Journal) -> None:
        self._read = read
        self._clock = clock
        self._journal = journal
        self._keys: Mapping[str, str] = {}
        self._tried_at: datetime | None = None

    def keys_for(self, kid: str | None) -> Sequence[str]:
        """Return the keys that a token may be signed with: the one it names, or all if it names none.

        Raises what `read` raises, while no keys have ever been read.
        """
        patience = READ_EVERY if kid is None or kid in self._keys else READ_AT_MOST_EVERY
        now = self._clock.now()
        if self._tried_at is None or now - self._tried_at >= patience:
            self._read_anew(now)
        if kid is None:
            return list(self._keys.values())
        return [self._keys[kid]] if kid in self._keys else []

    def _read_anew(self, now: datetime) -> None:
        try:
            self._keys = self._read()
        except QueueServiceError:
            self._journal.alarm("token_keys_unread")
            if not self._keys:
                raise
        self._tried_at = now
