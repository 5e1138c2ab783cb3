"""Sources: a tier that stands still is not given to its consumers, so that they are not called in vain.

What counts is the control record: consumers read it with every batch and begin nothing. This follows it, right
after every change and once a minute, so a failure here, or a pause that ends by itself, mends itself.
"""

from collections.abc import Sequence

from chalicelib.domain.backlog import EventSources
from chalicelib.domain.errors import StoreError
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Clock, JobStore, Journal


class Sources:
    """Makes the event sources follow the controls. No event sources: there are none to open and close."""

    def __init__(
        self, *, store: JobStore, sources: EventSources | None, clock: Clock, journal: Journal
    ) -> None:
        self._store = store
        self._sources = sources
        self._clock = clock
        self._journal = journal

    def follow(self, tiers: Sequence[Tier] = tuple(Tier)) -> None:
        """Open or close these tiers as the controls stand now; what fails is journaled and tried again."""
        if self._sources is None or not tiers:
            return
        try:
            controls = self._store.load_controls()
        except StoreError as error:
            self._journal.alarm("event_sources_unknown", error=type(error).__name__)
            return
        for tier in tiers:
            self._set(self._sources, tier, enabled=not controls.paused(tier, self._clock.now()))

    def _set(self, sources: EventSources, tier: Tier, *, enabled: bool) -> None:
        try:
            changed = sources.set_enabled(tier, enabled)
        except StoreError as error:
            self._journal.alarm("event_sources_unchanged", queue=tier, error=type(error).__name__)
            return
        if changed:
            self._journal.note("event_sources_opened" if enabled else "event_sources_closed", queue=tier)
