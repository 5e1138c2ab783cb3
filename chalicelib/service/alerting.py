"""Alerting: what a run of the monitor sees is judged, followed, and told to people.

A notice is claimed by a conditional write before it is sent, and given back where sending failed: of any number
of monitors one sends it, and only the channel that failed is due again. An answer that never came is a failure,
too: a phone that rings twice is better than one that never rings.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from chalicelib.domain.alert_texts import MOST_PARKED, message, told
from chalicelib.domain.alerting import (
    Alert,
    AlertBook,
    Channel,
    Condition,
    Firing,
    Notice,
    Outlet,
    Word,
    began,
    claimed,
    due,
    given_back,
    goes_on,
    is_another,
    is_well,
    replaced,
)
from chalicelib.domain.backlog import Backlog, TierDepth
from chalicelib.domain.errors import ProviderError, StoreError, StoreUnsure
from chalicelib.domain.heartbeat import PARTS, Heartbeats, Silence, silent
from chalicelib.domain.judging import Sight, Thresholds, judge
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Chance, Clock, JobStore, Journal
from chalicelib.domain.search import PARKED, JobIndex, ended
from chalicelib.domain.tally import Measure, Metrics, Name, Series, ended_per_minute
from chalicelib.service.stakes import Stakes
from chalicelib.service.writing import TRIES


class Alerting:
    """What the monitor does once it has counted; it costs the same however many jobs there are."""

    def __init__(
        self,
        *,
        book: AlertBook,
        outlets: Callable[[], Mapping[Channel, Outlet]],
        store: JobStore,
        index: JobIndex,
        backlog: Backlog,
        metrics: Metrics,
        heartbeats: Heartbeats,
        thresholds: Thresholds,
        clock: Clock,
        chance: Chance,
        journal: Journal,
        base_url: str | None,
    ) -> None:
        self._book = book
        self._outlets = outlets
        self._stakes = Stakes(store=store, backlog=backlog, journal=journal)
        self._index = index
        self._backlog = backlog
        self._metrics = metrics
        self._heartbeats = heartbeats
        self._thresholds = thresholds
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._link = None if base_url is None else f"{base_url}/dashboard"

    def run(self, series: Series | None, depths: Mapping[Tier, TierDepth], *, deadline: datetime) -> int:
        """Follow every condition, send what is due, and return how many notices were sent.

        What cannot be seen is left as it was; what cannot be kept is at least in the log.
        """
        now = self._clock.now()
        silences = self._silences(now)
        sights = {
            tier: replace(self._see(tier, series, depths.get(tier)), silent=_of_tier(silences, tier))
            for tier in Tier
        }
        judged: dict[Condition, Firing | None] = {}
        for sight in sights.values():
            judged |= judge(sight, self._thresholds, now)
        sent = self._tell(self._followed(judged, sights, now), deadline=deadline)
        if sent:
            self._metrics.add(sent, at=now, spread=self._chance.fraction())
        return sent.total()

    def _see(self, tier: Tier, series: Series | None, depth: TierDepth | None) -> Sight:
        sight = Sight(
            tier=tier,
            flows=None if series is None else [each[tier] for each in series.minutes.values() if tier in each],
            ended_per_minute=0.0 if series is None else ended_per_minute(series, tier),
            waiting=None if depth is None else sum(lane.waiting for lane in depth.lanes.values()),
            poison=None if depth is None else depth.poison,
        )
        try:
            sight = replace(sight, oldest_due=self._backlog.oldest_due(tier), ages_known=True)
            parked = self._index.newest(ended(tier, PARKED), below=None, floor=None, limit=MOST_PARKED)
            return replace(sight, parked=parked)
        except StoreError as error:
            self._journal.alarm("jobs_not_seen", queue=tier, error=type(error).__name__)
            return sight

    def _silences(self, now: datetime) -> list[Silence] | None:
        """Return the functions that are silent; one that never ran is from when that was first seen."""
        try:
            beats = self._heartbeats.beats()
        except StoreError as error:
            self._journal.alarm("heartbeats_not_seen", error=type(error).__name__)
            return None
        for function, beat in beats.items():
            if beat.since is None:
                self._heartbeats.miss(function, now)
        return silent(beats, self._thresholds.silence, now)

    def _followed(
        self, judged: Mapping[Condition, Firing | None], sights: Mapping[Tier, Sight], now: datetime
    ) -> list[Alert]:
        """Write what has become of each condition, and return the alerts as they stand, critical ones first."""
        stakes = self._stakes.of([firing for firing in judged.values() if firing is not None])
        firings = {firing.condition: firing for firing, _ in stakes}
        texts = {
            firing.condition: message(firing, sights[firing.condition.tier], stake, now)
            for firing, stake in stakes
        }
        try:
            standing = self._book.standing()
        except StoreError as error:
            self._unkept(texts, error)
            return []
        alerts = []
        for condition in judged:
            try:
                alert = self._step(
                    standing.get(condition), firings.get(condition), texts.get(condition, ""), now
                )
            except StoreError as error:
                self._unkept({condition: texts.get(condition, "It is well.")}, error)
                continue
            alerts += [] if alert is None else [alert]
        return sorted(alerts, key=lambda alert: alert.condition.severity)

    def _step(self, alert: Alert | None, firing: Firing | None, text: str, now: datetime) -> Alert | None:
        """Write what has become of one condition; None: there is nothing to tell, or somebody else does it."""
        if firing is None:
            return None if alert is None else self._swapped(alert, is_well(alert, now))
        if alert is not None and not is_another(alert, firing):
            return self._swapped(alert, goes_on(alert, firing, text))
        if alert is not None:
            over = self._swapped(alert, replaced(alert, now))
            if over is None or not self._book.close(over):
                return None
        fresh = began(firing, text, now)
        return fresh if self._book.begin(fresh) else None

    def _swapped(self, before: Alert, after: Alert) -> Alert | None:
        if after == before:
            return before
        return replace(after, version=before.version + 1) if self._book.swap(before, after) else None

    def _unkept(self, texts: Mapping[Condition, str], error: StoreError) -> None:
        for condition, text in texts.items():
            self._journal.alarm("alert_not_kept", error=type(error).__name__, text=text, **_facts(condition))

    # --- telling

    def _tell(self, alerts: Iterable[Alert], *, deadline: datetime) -> Counter[Name]:
        """Send what is due, the surest channel first, and close what has ended and was told."""
        outlets = self._outlets()
        held = {alert.id: alert for alert in alerts}
        sent: Counter[Name] = Counter()
        for channel in Channel:
            for alert_id in held:
                done, held[alert_id] = self._notify(held[alert_id], channel, outlets, deadline)
                sent[counter(held[alert_id].condition, channel)] += done
        for alert in held.values():
            if alert.ended_at is not None and not due(alert, self._clock.now()):
                self._close(alert)
        return +sent

    def _notify(
        self, alert: Alert, channel: Channel, outlets: Mapping[Channel, Outlet], deadline: datetime
    ) -> tuple[bool, Alert]:
        """Send what is due on one channel; say whether it was sent, and return the alert as it stands."""
        word = dict(due(alert, self._clock.now())).get(channel)
        if word is None:
            return False, alert
        outlet = outlets.get(channel)
        if outlet is None and channel is not Channel.LOG:
            self._journal.note("alert_channel_missing", channel=channel, alertId=alert.id)
            return False, alert
        before = alert.told.get((channel, word))
        ours, alert = self._claim(alert, channel, word)
        if not ours:
            return False, alert
        try:
            self._send(alert, word, outlet, deadline)
        except Exception as error:  # noqa: BLE001 - whatever it was, this is due again and the others are told
            reason = error.reason if isinstance(error, ProviderError) else type(error).__name__
            self._journal.alarm("alert_not_sent", channel=channel, alertId=alert.id, error=reason)
            return False, self._give_back(alert, channel, word, before)
        return True, alert

    def _send(self, alert: Alert, word: Word, outlet: Outlet | None, deadline: datetime) -> None:
        text = told(alert, word)
        if outlet is not None:
            notice = Notice(alert.id, alert.condition, word, text, self._link)
            outlet.send(notice, deadline=deadline)
            return
        write = self._journal.note if word is Word.RESOLVED else self._journal.alarm
        write("alert", alertId=alert.id, word=word, text=text, **_facts(alert.condition))

    def _claim(self, alert: Alert, channel: Channel, word: Word) -> tuple[bool, Alert]:
        """Have a notice be ours to send, unless another monitor has it or it is due no more."""
        for _ in range(TRIES):
            now = self._clock.now()
            if dict(due(alert, now)).get(channel) is not word:
                return False, alert
            after = claimed(alert, channel, word, now)
            if self._swaps(alert, after):
                return True, replace(after, version=alert.version + 1)
            alert = self._reloaded(alert)
        return False, alert

    def _give_back(self, alert: Alert, channel: Channel, word: Word, before: datetime | None) -> Alert:
        """Let a notice be due again, unless somebody has claimed it since; failing that, after a cooldown."""
        ours = alert.told[channel, word]
        for _ in range(TRIES):
            if alert.told.get((channel, word)) != ours:
                break
            after = given_back(alert, channel, word, before)
            if self._swaps(alert, after):
                return replace(after, version=alert.version + 1)
            alert = self._reloaded(alert)
        return alert

    def _swaps(self, before: Alert, after: Alert) -> bool:
        """Replace an alert; a write whose reply was lost is ours if what stands now is what we wrote."""
        try:
            return self._book.swap(before, after)
        except StoreUnsure:
            return self._reloaded(before) == replace(after, version=before.version + 1)
        except StoreError as error:
            self._journal.alarm("alert_not_kept", error=type(error).__name__, **_facts(before.condition))
            return False

    def _reloaded(self, alert: Alert) -> Alert:
        try:
            return self._book.load(alert.id) or alert
        except StoreError:
            return alert

    def _close(self, alert: Alert) -> None:
        try:
            self._book.close(alert)
        except StoreError:
            self._journal.note("alert_not_closed", alertId=alert.id)  # the next run does


def counter(condition: Condition, channel: Channel) -> Name:
    """Return the name under which what was sent is counted."""
    return Name(Measure.ALERTED, condition.type, f"{condition.severity}#{channel}")


def _facts(condition: Condition) -> dict[str, str]:
    return {"alertType": condition.type, "severity": condition.severity, "queue": condition.tier}


def _of_tier(silences: Sequence[Silence] | None, tier: Tier) -> list[Silence] | None:
    """Return what a tier suffers from first; `monitor` is not for itself to judge."""
    if silences is None:
        return None
    parts = {each: PARTS[each.function] for each in silences}
    return [each for each, part in parts.items() if part.tier is tier and part.silence is not None]
