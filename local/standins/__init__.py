"""STAND-IN, never deployed: the providers of the local stack and the tests, with a ledger of what they did.

HTTP faces of Stripe (real key semantics), the order service and Twilio, a receiver of webhooks, and a relay
before the emulator's SES.
`GET /_ledger` lists the effects that really took place, `POST /_faults` orders faults, `POST /_act` plays
the customer whose bank wants a word, `POST /_inbound` a phone that texts us, `POST /_reset` forgets everything.
"""

from local.standins.server import StandIns

__all__ = ["StandIns"]
