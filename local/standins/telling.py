"""STAND-IN, never deployed: what Twilio tells us unasked, signed as Twilio signs it."""

from collections.abc import Mapping
from urllib.parse import urlencode

from twilio.request_validator import RequestValidator

from local.standins.outbox import Outbox, post


class Telling:
    """Posts signed forms one after another."""

    def __init__(self, token: str) -> None:
        self._signs = RequestValidator(token)
        self._outbox = Outbox()

    def tell(self, url: str, form: Mapping[str, str]) -> None:
        """Have a form posted soon; nobody hears whether it arrived, as with Twilio."""
        self._outbox.put(lambda: self.tell_now(url, form))

    def tell_now(self, url: str, form: Mapping[str, str]) -> int | None:
        """Post a form and return the status of the answer; None: there was none, or the URL is not here."""
        headers = {
            "Content-Type": "application/x-www-form-urlencoded",
            "X-Twilio-Signature": self._signs.compute_signature(url, dict(form)),
        }
        return post(url, urlencode(form).encode(), headers)

    def stop(self) -> None:
        """Post no more."""
        self._outbox.stop()
