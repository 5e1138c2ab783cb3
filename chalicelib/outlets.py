"""The channels of alerts, on what this stage is told of: SNS and Twilio."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING

from chalicelib.domain.alerting import Channel, Outlet
from chalicelib.domain.ports import Clock
from chalicelib.settings import Settings
from chalicelib.settings.environment import Secret

if TYPE_CHECKING:
    from chalicelib.aws.clients import Clients


class Outlets:
    """Makes the channels of alerts when they are first asked for; one that is not configured is not there."""

    def __init__(
        self,
        settings: Settings,
        clients: "Clients",
        clock: Clock,
        tell: Callable[[Secret, bool], str],
        building: AbstractContextManager[object],
    ) -> None:
        self._building = building  # a client is made by one thread at a time
        self._settings = settings
        self._clients = clients
        self._clock = clock
        self._tell = tell
        self._made: dict[Channel, Outlet] | None = None

    def __call__(self) -> Mapping[Channel, Outlet]:
        """Return them by channel."""
        with self._building:
            if self._made is None:
                self._made = self._topic() | self._on_call()
            return self._made

    def _topic(self) -> dict[Channel, Outlet]:
        arn = self._settings.alerts.topic_arn
        if arn is None:
            return {}
        from chalicelib.aws.alert_topic import AlertTopic

        return {Channel.SNS: AlertTopic(self._clients.sns, arn, self._clock)}

    def _on_call(self) -> dict[Channel, Outlet]:
        account, phone = self._settings.twilio, self._settings.alerts.oncall_phone
        if account is None or phone is None:
            return {}
        from chalicelib.providers.twilio_messages import TwilioAccount
        from chalicelib.providers.twilio_oncall import OnCallPhone, OnCallText

        made = TwilioAccount(account, partial(self._tell, account.auth_token), self._clock)
        return {Channel.SMS: OnCallText(made, phone), Channel.PHONE: OnCallPhone(made, phone)}
