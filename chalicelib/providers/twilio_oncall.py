"""Who is on call, through Twilio: a text, and a call that speaks the message.

Both go past stops and the limiter, which keeps some of Twilio's bucket from jobs for them.
"""

from datetime import datetime

from chalicelib.domain.alerting import Notice
from chalicelib.providers.twilio_messages import TwilioAccount

MOST_CHARACTERS = 1_600  # of a text, by Twilio
SPOKEN = 2  # times; whoever is woken does not hear the first


class OnCallText:
    """Implements `alerting.Outlet`: a text to one phone."""

    def __init__(self, account: TwilioAccount, phone: str) -> None:
        self._account = account
        self._phone = phone

    def send(self, notice: Notice, *, deadline: datetime) -> None:
        """Text the message and its link."""
        fields = {"To": self._phone, "From": self._account.phone, "Body": notice.written[:MOST_CHARACTERS]}
        self._account.make("Messages", fields, deadline=deadline)


class OnCallPhone:
    """Implements `alerting.Outlet`: a call to one phone that speaks the message."""

    def __init__(self, account: TwilioAccount, phone: str) -> None:
        self._account = account
        self._phone = phone

    def send(self, notice: Notice, *, deadline: datetime) -> None:
        """Call and speak the message, without its link."""
        fields = {"To": self._phone, "From": self._account.phone, "Twiml": spoken(notice.text)}
        self._account.make("Calls", fields, deadline=deadline)


def spoken(text: str) -> str:
    """Return the TwiML that speaks a text."""
    from twilio.twiml.voice_response import VoiceResponse

    response = VoiceResponse()
    response.say(text, loop=SPOKEN)
    return str(response)
