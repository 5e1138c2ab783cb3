"""In how many messages a text goes over the air."""

import gsm0338
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.segments import BASIC, EXTENSION, ROOM, Alphabet, Measure, measure

GSM, UCS = Alphabet.GSM_7, Alphabet.UCS_2
THEIRS = gsm0338.Codec()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Measure(GSM, 1, 0)),
        ("x" * 160, Measure(GSM, 1, 160)),
        ("x" * 161, Measure(GSM, 2, 161)),
        ("x" * 306, Measure(GSM, 2, 306)),
        ("x" * 307, Measure(GSM, 3, 307)),
        ("€" * 80, Measure(GSM, 1, 80)),
        ("€" * 81, Measure(GSM, 2, 81)),
        ("x" * 152 + "€" + "x" * 8, Measure(GSM, 2, 161)),
        ("x" * 152 + "€" * 77, Measure(GSM, 3, 229)),  # one that would be torn apart begins the next
        ("x" * 153 + "€" * 76, Measure(GSM, 2, 229)),
        ("ä" * 160, Measure(GSM, 1, 160)),
        ("ő" * 70, Measure(UCS, 1, 70)),
        ("ő" * 71, Measure(UCS, 2, 71)),
        ("ő" * 134, Measure(UCS, 2, 134)),
        ("ő" * 135, Measure(UCS, 3, 135)),
        ("🎟" * 35, Measure(UCS, 1, 70)),
        ("ő" * 66 + "🎟" * 34, Measure(UCS, 3, 134)),  # nor is a pair of UTF-16
        ("x" * 159 + "ő", Measure(UCS, 3, 160)),
        ("`", Measure(UCS, 1, 1)),
        ("a\nb\rc\fd", Measure(GSM, 1, 7)),
        ("x" * 1600, Measure(GSM, 11, 1600)),
        ("ő" * 1600, Measure(UCS, 24, 1600)),
    ],
)
def test_a_text_has_its_segments(text: str, expected: Measure) -> None:
    assert measure(text) == expected


@pytest.mark.parametrize(("text", "too_long"), [("x" * 1600, False), ("x" * 1601, True), ("🎟" * 801, True)])
def test_twilio_takes_1600_characters(text: str, too_long: bool) -> None:
    assert measure(text).too_long is too_long


def test_the_alphabet_is_the_one_of_the_standard() -> None:
    """Hold the tables to a codec that others wrote."""
    everything = [chr(number) for number in range(0x10000) if not 0xD800 <= number < 0xE000]
    lengths = {}
    for character in everything:
        try:
            lengths[character] = len(THEIRS.encode(character)[0])
        except UnicodeError:
            continue
    lengths.pop("\x1b", None)  # the escape itself is no character
    assert {character for character, length in lengths.items() if length == 1} == BASIC
    assert {character for character, length in lengths.items() if length == 2} == EXTENSION


@given(st.text(max_size=400), st.text(max_size=400))
def test_more_text_never_has_fewer_segments(text: str, more: str) -> None:
    before, after = measure(text), measure(text + more)
    assert after.segments >= before.segments
    assert after.characters >= before.characters


@given(st.text(alphabet=st.sampled_from("aé€ő🎟"), min_size=1, max_size=700))
def test_segments_hold_what_they_can(text: str) -> None:
    found = measure(text)
    alone, part = ROOM[found.alphabet]
    if found.alphabet is GSM:
        units = sum(2 if character in EXTENSION else 1 for character in text)
    else:
        units = len(text.encode("utf-16-le")) // 2
    assert (found.segments == 1) is (units <= alone)
    if found.segments > 1:
        assert -(-units // part) <= found.segments <= -(-units // (part - 1))
