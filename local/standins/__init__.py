"""STAND-IN, never deployed: the providers of the local stack and the tests, with a ledger of what they did.

One HTTP server with Stripe's REST face (real key semantics) and a relay in front of the emulator's SES.
`GET /_ledger` lists the effects that really took place, `POST /_faults` orders faults, `POST /_act` plays
the customer whose bank wants a word, `POST /_reset` forgets everything.
"""

from local.standins.server import StandIns

__all__ = ["StandIns"]
