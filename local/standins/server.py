"""STAND-IN, never deployed: the faces and the control of the stand-ins, a port for each."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import TYPE_CHECKING, Any

from local.standins.books import Books
from local.standins.callbacks import Callbacks
from local.standins.faults import BadOrder, Faults, Mode, Provider
from local.standins.hooks_face import PATH as HOOKS_PATH
from local.standins.hooks_face import HooksFace
from local.standins.listener import SILENCE, Listener
from local.standins.mail_events import CERTIFICATE_PATH, MailEvents
from local.standins.orders_face import PATH, OrdersFace
from local.standins.ses_face import SesFace
from local.standins.stripe_face import StripeFace
from local.standins.telling import Telling
from local.standins.twilio_face import TOKEN, TwilioFace
from local.standins.wire import Answer, Request

if TYPE_CHECKING:
    from local.standins.chain_face import ChainFace


CHAIN = "/solana"
# What pays for mints on the local chain; nothing anywhere else.
CHAIN_AUTHORITY = "3KzFmZDn9pUxGjWS4qTTqMCq8LLpB7DREzJ6dVZnU3EozvQBAfFdzFRhpUPZBZ6RLzXJspPgfhzJ4V14mRMSikhQ"


def _system_now() -> datetime:
    return datetime.now(UTC)


def _nobody(_: dict[str, Any]) -> None:
    """Tell nobody."""


class StandIns:
    """The stand-ins, from `start` to `stop` or as a context; `url` is Stripe's face, `ses_url` that of SES.

    Every port answers everything; there are several so that one provider's can be closed without the others'.
    State is in the file, or in memory. `ses` is the base URL of the SES behind the relay, `twilio_webhook`
    where texts to our number are told, `stripe_webhook` where Stripe tells what has changed and the secret
    that it signs with, `mail_events` where SNS tells what becomes of mails and its topic's ARN. `now` is the
    clock that keys age by, `silence` how long a caller waits for an answer that does not come. Raises OSError
    when a port is taken.
    """

    def __init__(
        self,
        *,
        port: int = 0,
        ses_port: int = 0,
        chain_port: int = 0,
        state: Path | None = None,
        ses: str | None = None,
        twilio_webhook: str | None = None,
        stripe_webhook: tuple[str, str] | None = None,
        mail_events: tuple[str, str] | None = None,
        now: Callable[[], datetime] = _system_now,
        silence: timedelta = SILENCE,
    ) -> None:
        self._books = Books(str(state) if state else ":memory:")
        self._faults = Faults()
        self._callbacks = Callbacks(*stripe_webhook, now) if stripe_webhook else None
        tell = self._callbacks.tell if self._callbacks else _nobody
        self._stripe = StripeFace(self._books, self._faults, now, tell)
        self._mail_events = MailEvents(*mail_events, lambda: self.ses_url, now) if mail_events else None
        self._ses = SesFace(self._books, self._faults, now, ses, self._mail_events)
        self._orders = OrdersFace(self._books, self._faults, now)
        self._hooks = HooksFace(self._books, self._faults, now)
        self._telling = Telling(TOKEN)
        self._twilio = TwilioFace(self._books, self._faults, now, self._telling, twilio_webhook)
        self._chain: ChainFace | None = None
        self._beginning = Lock()
        self._now = now
        ports = {Provider.STRIPE: port, Provider.SES: ses_port, Provider.SOLANA: chain_port}
        self._listeners = {
            each: Listener("127.0.0.1", ports.get(each, 0), self._answer, silence=silence) for each in Provider
        }

    @property
    def url(self) -> str:
        """The base URL of Stripe's face and of the control."""
        return f"http://127.0.0.1:{self._listeners[Provider.STRIPE].port}"

    @property
    def ses_url(self) -> str:
        """The base URL of the face of SES; the control answers here, too."""
        return f"http://127.0.0.1:{self._listeners[Provider.SES].port}"

    @property
    def orders_url(self) -> str:
        """Where orders are to be posted."""
        return f"http://127.0.0.1:{self._listeners[Provider.ORDERS].port}{PATH}"

    @property
    def twilio_url(self) -> str:
        """The base URL of Twilio's face."""
        return f"http://127.0.0.1:{self._listeners[Provider.TWILIO].port}"

    @property
    def hooks_url(self) -> str:
        """Where webhooks are to be posted."""
        return f"http://127.0.0.1:{self._listeners[Provider.HOOKS].port}{HOOKS_PATH}"

    @property
    def urls(self) -> dict[str, str]:
        """Where each provider's face is, by provider."""
        return {
            Provider.STRIPE.value: self.url,
            Provider.SES.value: self.ses_url,
            Provider.ORDERS.value: self.orders_url,
            Provider.TWILIO.value: self.twilio_url,
            Provider.HOOKS.value: self.hooks_url,
            Provider.SOLANA.value: self.chain_url,
        }

    @property
    def chain(self) -> "ChainFace":
        """The chain, begun when somebody first asks for it: it takes a fifth of a second to load."""
        from local.standins.chain_face import ChainFace

        with self._beginning:
            if self._chain is None:
                self._chain = ChainFace(self._books, self._faults, self._now, CHAIN_AUTHORITY)
            return self._chain

    @property
    def chain_url(self) -> str:
        """The URL of the chain's face."""
        return f"http://127.0.0.1:{self._listeners[Provider.SOLANA].port}{CHAIN}"

    def start(self) -> None:
        """Begin to serve."""
        for listener in self._listeners.values():
            listener.start()

    def stop(self) -> None:
        """End every connection and thread, and close the file."""
        self._telling.stop()
        for telling in (self._callbacks, self._mail_events):
            if telling is not None:
                telling.stop()
        for listener in self._listeners.values():
            listener.stop()
        self._books.close()

    def __enter__(self) -> "StandIns":
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def effects(self) -> list[dict[str, Any]]:
        """Return the ledger, as `GET /_ledger` does."""
        return self._books.effects()

    def arm(self, provider: str, mode: str, count: int = 1) -> None:
        """Order a fault, as `POST /_faults` does; raises BadOrder."""
        self._order({"provider": provider, "mode": mode, "count": count})

    def act(self, intent_id: str, action: str) -> None:
        """Play the customer, as `POST /_act` does."""
        self._stripe.act({"paymentIntentId": intent_id, "action": action})

    def trust(self, secret: str) -> None:
        """Have the receiver of webhooks take what a secret has signed, as `POST /_hooks` does."""
        self._hooks.trust({"secret": secret})

    def text_us(self, phone: str, body: str, url: str | None = None) -> Any:
        """Play a phone that texts us, as `POST /_inbound` does; return what the service answered."""
        order = {"from": phone, "body": body, **({} if url is None else {"url": url})}
        answer = self._twilio.inbound(order)
        return json.loads(answer.rendered())["status"]

    def _answer(self, request: Request) -> Answer:
        if request.path.startswith("/v1/"):
            return self._stripe.answer(request)
        if request.path.startswith("/v2/"):
            return self._ses.answer(request)
        if request.path in (CERTIFICATE_PATH, "/") and request.method == "GET":
            return self._ses.answer_as_sns(request)
        if request.path.startswith("/2010-04-01/"):
            return self._twilio.answer(request)
        if request.path == PATH:
            return self._orders.answer(request)
        if request.path == HOOKS_PATH:
            return self._hooks.answer(request)
        if request.path == CHAIN:
            return self.chain.answer(request)
        try:
            return self._control(request)
        except (BadOrder, ValueError) as error:
            return Answer(400, {"error": str(error), "modes": list(Mode), "providers": list(Provider)})

    def _control(self, request: Request) -> Answer:
        match request.method, request.path:
            case "GET", "/_ledger":
                return Answer(200, {"effects": self._books.effects()})
            case "GET", "/_faults":
                return Answer(200, {"faults": self._armed()})
            case "POST", "/_faults":
                self._order(json.loads(request.body))
                return Answer(200, {"faults": self._armed()})
            case "POST", "/_act":
                return self._stripe.act(json.loads(request.body))
            case "POST", "/_inbound":
                return self._twilio.inbound(json.loads(request.body))
            case "POST", "/_hooks":
                return self._hooks.trust(json.loads(request.body))
            case "POST", "/_chain":
                return Answer(200, {"height": self.chain.pass_blocks(_blocks(json.loads(request.body)))})
            case "POST", "/_reset":
                self._reset()
                return Answer(200, {"reset": True})
        tries = "GET /_ledger, GET or POST /_faults, POST /_act, /_inbound, /_hooks, /_chain, /_reset"
        return Answer(404, {"error": f"Try {tries}."})

    def _order(self, order: Any) -> None:
        provider, mode, count = self._faults.arm(order)
        if mode is Mode.REFUSE_CONNECTION:
            self._listeners[provider].refuse(count)

    def _armed(self) -> list[dict[str, Any]]:
        refusing = [
            {"provider": provider, "mode": Mode.REFUSE_CONNECTION, "count": listener.refusals_left}
            for provider, listener in self._listeners.items()
            if listener.down
        ]
        return refusing + self._faults.listing()

    def _reset(self) -> None:
        self._faults.clear()
        self._twilio.clear()
        for listener in self._listeners.values():
            listener.recover()
        with self._beginning:
            self._books.clear()
            self._chain = None


def _blocks(order: Any) -> int:
    """Return how many blocks are to pass; raises BadOrder."""
    blocks = order.get("blocks") if isinstance(order, dict) else None
    if not isinstance(blocks, int) or not 0 < blocks <= 1_000_000:
        raise BadOrder('POST /_chain takes {"blocks": N}: that many pass at once, at most 1,000,000.')
    return blocks
