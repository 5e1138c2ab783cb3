"""How a text goes over the air: in which alphabet, and in how many messages that are billed one by one.

The alphabet is GSM 7-bit (3GPP TS 23.038) where it has every character, else UCS-2, which is UTF-16 here. A
message of the network holds 140 bytes; a part of a longer text gives 6 of them to the header that joins them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = frozenset("\f^{}\\[~]|€")  # two septets each: an escape goes before
MOST_CHARACTERS = 1_600  # of a text, as Twilio counts them


class Alphabet(StrEnum):
    """How the characters are written."""

    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"


# Of each alphabet: the units that fit in a text of one message, and in each part of a longer one.
ROOM = {Alphabet.GSM_7: (160, 153), Alphabet.UCS_2: (70, 67)}


@dataclass(frozen=True, slots=True)
class Measure:
    """What a text comes to; `characters` counts one that needs two units of UTF-16 as two."""

    alphabet: Alphabet
    segments: int
    characters: int

    @property
    def too_long(self) -> bool:
        """Whether Twilio takes no text of this length."""
        return self.characters > MOST_CHARACTERS


def measure(text: str) -> Measure:
    """Return the alphabet, the segments and the characters of a text; an empty one is one segment."""
    wide = [_utf16_units(character) for character in text]
    if all(character in BASIC or character in EXTENSION for character in text):
        septets = (2 if character in EXTENSION else 1 for character in text)
        return Measure(Alphabet.GSM_7, _segments(septets, *ROOM[Alphabet.GSM_7]), len(text))
    return Measure(Alphabet.UCS_2, _segments(wide, *ROOM[Alphabet.UCS_2]), sum(wide))


def _utf16_units(character: str) -> int:
    return 2 if ord(character) > 0xFFFF else 1


def _segments(widths: Iterable[int], alone: int, part: int) -> int:
    """Fill messages from the front; a character of two units is not torn apart."""
    widths = list(widths)
    if sum(widths) <= alone:
        return 1
    count, used = 1, 0
    for width in widths:
        if used + width > part:
            count, used = count + 1, 0
        used += width
    return count
