"""What a phone that texts us wants: no more texts, or texts again. Twilio knows the same words."""

from collections.abc import Mapping
from enum import StrEnum


class Wish(StrEnum):
    """What whoever holds the phone has asked for."""

    STOP = "STOP"
    START = "START"


# https://help.twilio.com/articles/223134027: a text that is one of these words, however it is written.
WORDS: Mapping[str, Wish] = {
    **dict.fromkeys(("stop", "stopall", "unsubscribe", "cancel", "end", "quit", "revoke", "optout"), Wish.STOP),
    **dict.fromkeys(("start", "unstop", "yes"), Wish.START),
}


def wish_of(text: str, told: str | None) -> Wish | None:
    """Return what a text asks for; `told` is how Twilio has taken it, where it says. HELP asks for nothing."""
    if told is not None:
        return next((wish for wish in Wish if wish == told.upper()), None)
    return WORDS.get(text.strip().lower())
