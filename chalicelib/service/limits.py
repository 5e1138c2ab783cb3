"""The limit on a caller's requests, held with few writes: most requests are spent from a block in memory."""

import threading
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from chalicelib.domain.errors import RateLimited, StoreError, StoreRefused
from chalicelib.domain.ports import Clock, Journal, Quotas
from chalicelib.domain.quota import Allowance, Block, Standing, Window, window_at
from chalicelib.service.principal import Principal

MOST_CALLERS = 10_000  # remembered by a container
LEFT_ALONE = timedelta(seconds=5)  # a count that did not answer is not asked again for what goes through anyway
UNCOUNTED = "Your limit of requests could not be looked up, so nothing was done. Repeat the request."


@dataclass
class _Purse:
    """A caller's block; whoever finds it empty draws for all that wait behind."""

    block: Block
    lock: threading.Lock = field(default_factory=threading.Lock)


class Limits:
    """One container's share of every caller's limit; `base` is a user's, and None limits nobody."""

    def __init__(self, quotas: Quotas, *, clock: Clock, journal: Journal, base: Allowance | None) -> None:
        self._quotas = quotas
        self._clock = clock
        self._journal = journal
        self._base = base
        self._purses: dict[str, _Purse] = {}
        self._lock = threading.Lock()
        self._silent_until: datetime | None = None

    def spend(self, principal: Principal, cost: int = 1, *, closed: bool = False) -> Standing | None:
        """Count requests of a caller and say how it stands; None where nobody can tell.

        Raises RateLimited when they are more than it has left. When the count does not answer, `closed`
        raises StoreRefused; otherwise the request goes through.
        """
        if self._base is None:
            return None
        now = self._clock.now()
        allowance = self._base.of(principal.role)
        caller = f"{principal.role}#{principal.sub}"
        purse = self._purse(caller, window_at(now, allowance.window), allowance)
        with purse.lock:
            if purse.block.rest < cost <= purse.block.most and not self._draw(
                purse, caller, allowance, cost, closed=closed
            ):
                return None
            after = purse.block.spent(cost)
            if after is None:
                raise RateLimited(_standing(purse.block, allowance), purse.block.window.ends - now)
            purse.block = after
        return _standing(after, allowance)

    def _purse(self, caller: str, window: Window, allowance: Allowance) -> _Purse:
        with self._lock:
            purse = self._purses.get(caller)
            if purse is None or purse.block.window != window:
                if len(self._purses) >= MOST_CALLERS:
                    self._purses.clear()  # what rested in them is lost to their callers, never doubled
                purse = self._purses[caller] = _Purse(Block(window, 0, allowance.requests))
            return purse

    def _draw(self, purse: _Purse, caller: str, allowance: Allowance, cost: int, *, closed: bool) -> bool:
        """Draw what a request lacks, or a block if that is more; say whether the count has answered."""
        now = self._clock.now()
        if not closed and self._silent_until is not None and now < self._silent_until:
            return False
        least = cost - purse.block.rest
        most = max(least, allowance.block)
        try:
            drawn = self._quotas.draw(
                caller, purse.block.window, limit=allowance.requests, least=least, most=most
            )
        except StoreError as error:
            self._silent_until = now + LEFT_ALONE
            self._journal.alarm("quota_unknown", error=type(error).__name__)
            if closed:
                raise StoreRefused(UNCOUNTED) from error
            return False
        purse.block = purse.block.with_more(drawn)
        return True


def _standing(block: Block, allowance: Allowance) -> Standing:
    return Standing(allowance.requests, block.most, block.window.ends)
