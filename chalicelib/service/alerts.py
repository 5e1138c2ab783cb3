"""The alerts as operators see them: listed, acknowledged, and tested."""

import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from chalicelib.domain.alert_texts import TEST, told
from chalicelib.domain.alerting import (
    Alert,
    AlertBook,
    Channel,
    Notice,
    Outlet,
    Severity,
    Word,
    acknowledged,
    channels_of,
    trial,
)
from chalicelib.domain.errors import (
    ActionRefused,
    Forbidden,
    NotFound,
    ProviderError,
    StoreError,
    StoreRefused,
    StoreUnsure,
)
from chalicelib.domain.policies import Role
from chalicelib.domain.ports import Chance, Clock, Crew, Entry, Journal
from chalicelib.service.intake import Schema
from chalicelib.service.principal import Principal, only_admin
from chalicelib.service.problems import refuse
from chalicelib.service.read import moment
from chalicelib.service.schedule_intake import REASON, WHY
from chalicelib.service.writing import TRIES

LISTED_FOR = timedelta(hours=24)
TEST_WITHIN = timedelta(seconds=12)  # of the request's fifteen seconds
SEVERITY: Mapping[str, Any] = {"enum": [each.value for each in Severity]}
TEST_BODY: Mapping[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["severity"],
    "properties": {
        "severity": SEVERITY,
        "channel": {"enum": [each.value for each in Channel]},
        "reason": REASON,
    },
}
NO_SUCH = "There is no such alert."
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
DOING = "acknowledge or test alerts"


class Alerts:
    """The use cases behind /v1/alerts."""

    def __init__(
        self,
        *,
        book: AlertBook,
        outlets: Callable[[], Mapping[Channel, Outlet]],
        crew: Crew,
        clock: Clock,
        chance: Chance,
        journal: Journal,
        base_url: str | None,
    ) -> None:
        self._book = book
        self._outlets = outlets
        self._crew = crew
        self._clock = clock
        self._chance = chance
        self._journal = journal
        self._link = None if base_url is None else f"{base_url}/dashboard"
        self._asked = Schema({"type": "object", "properties": {"severity": SEVERITY}})
        self._why, self._test = Schema(WHY), Schema(TEST_BODY)

    def all(self, asked: Mapping[str, str], principal: Principal, *, limit: int) -> list[dict[str, Any]]:
        """Return the alerts of 24 hours and all that nobody has acknowledged, the latest first: two queries.

        A venue sees its own. Raises Forbidden, InvalidRequest or StoreRefused.
        """
        if principal.role is not Role.ADMIN and (
            principal.role is not Role.VENUE_ADMIN or principal.venue_id is None
        ):
            raise Forbidden("A token of this role, or without its venue, may not see alerts.")
        refuse(self._asked.problems({name: asked[name] for name in ("severity",) if name in asked}))
        found = [*self._book.unacknowledged(), *self._book.since(self._clock.now() - LISTED_FOR)]
        wanted = {
            alert.id: alert
            for alert in found
            if asked.get("severity") in (None, alert.condition.severity)
            and (principal.role is Role.ADMIN or alert.venue_id == principal.venue_id)
        }
        return [row(wanted[each]) for each in sorted(wanted, reverse=True)[:limit]]

    def acknowledge(self, alert_id: str, body: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        """Have an alert be somebody's: it is told no more until it is over. Once, and audited.

        Raises Forbidden, InvalidRequest, NotFound, ActionRefused, StoreRefused or StoreUnsure.
        """
        only_admin(principal, DOING)
        refuse(self._why.problems(body))
        entry_id, lost = self._chance.entry_id(), False
        for _ in range(TRIES):
            alert = self._book.load(alert_id) if _ID.fullmatch(alert_id) else None
            if alert is None:
                raise NotFound(NO_SUCH)
            if alert.acknowledged_at is not None:
                if lost and alert.acknowledged_by == principal.sub:
                    return row(alert)
                raise ActionRefused(
                    "already_acknowledged", "Somebody has acknowledged the alert.", state="acknowledged"
                )
            after = acknowledged(alert, principal.sub, self._clock.now())
            try:
                if self._book.swap(
                    alert, after, self._entry(entry_id, "acknowledge_alert", alert, body, principal)
                ):
                    self._journal.note("acknowledge_alert", alertId=alert.id, actor=principal.sub)
                    return row(after)
            except StoreUnsure:
                lost = True
        raise StoreUnsure if lost else StoreRefused

    def test(self, body: Mapping[str, Any], principal: Principal) -> dict[str, Any]:
        """Send a test on a channel, or on all of its severity, and return what became of each.

        It is in the history and in the audit log before it is sent. Raises Forbidden, InvalidRequest,
        StoreRefused or StoreUnsure.
        """
        only_admin(principal, DOING)
        refuse(self._test.problems(body))
        severity = Severity(body["severity"])
        entry_id = self._chance.entry_id()
        alert = trial(severity, TEST, principal.sub, self._clock.now(), unique=entry_id)
        self._book.add(alert, self._entry(entry_id, "test_alert", alert, body, principal))
        usual = channels_of(severity, alert.condition.tier)
        channels = [Channel(body["channel"])] if "channel" in body else list(usual)
        notice = Notice(alert.id, alert.condition, Word.ALERT, told(alert, Word.ALERT), self._link)
        # Side by side, since Twilio may take ten seconds for each of two.
        results = self._crew.run_all(lambda channel: self._sent(channel, notice), channels)
        return {"alertId": alert.id, "results": results}

    def _sent(self, channel: Channel, notice: Notice) -> dict[str, Any]:
        """Send a notice on a channel, whatever else is told on it, and return what became of it."""
        if channel is Channel.LOG:
            self._journal.alarm(
                "alert", alertId=notice.alert_id, alertType=notice.condition.type, text=notice.text
            )
            return _result(channel, None)
        outlet = self._outlets().get(channel)
        if outlet is None:
            return _result(channel, ("provider_not_configured", "The channel is not configured on this stage."))
        try:
            outlet.send(notice, deadline=self._clock.now() + TEST_WITHIN)
        except ProviderError as error:
            return _result(channel, (error.reason, error.message))
        except StoreError as error:  # its secret cannot be read
            return _result(channel, (error.code, error.message))
        return _result(channel, None)

    def _entry(
        self, entry_id: str, action: str, alert: Alert, body: Mapping[str, Any], principal: Principal
    ) -> Entry:
        return Entry(
            id=entry_id,
            at=self._clock.now(),
            actor=principal.sub,
            action=action,
            subject=f"alert/{alert.id}",
            venue_id=alert.venue_id,
            reason=body.get("reason", ""),
            before=None,
            after=body.get("channel") if action == "test_alert" else "acknowledged",
        )


def _result(channel: Channel, error: tuple[str, str] | None) -> dict[str, Any]:
    told_of = None if error is None else dict(zip(("code", "message"), error, strict=True))
    return {"channel": channel, "sent": error is None, "error": told_of}


def row(alert: Alert) -> dict[str, Any]:
    """Return an alert as operators see it."""
    condition = alert.condition
    last = {channel: alert.last_told(channel) for channel in Channel}
    return {
        "id": alert.id,
        "alertType": condition.type,
        "severity": condition.severity,
        "queue": condition.tier,
        "message": alert.message,
        "venueId": alert.venue_id,
        "metricValue": alert.value,
        "thresholdValue": alert.threshold,
        "createdAt": moment(alert.created_at),
        "acknowledged": alert.acknowledged_at is not None,
        "acknowledgedBy": alert.acknowledged_by,
        "acknowledgedAt": _moment_or_none(alert.acknowledged_at),
        "resolvedAt": _moment_or_none(alert.ended_at),
        "toldAt": {channel: _moment_or_none(at) for channel, at in last.items()},
    }


def _moment_or_none(at: Any) -> str | None:
    return None if at is None else moment(at)
