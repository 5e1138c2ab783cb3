"""What makes two addresses the same one, and what a digest gives away."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.standing import Channel, mail_address, phone_number, read_address

LOCALS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._%-]{0,20}", fullmatch=True)
DOMAINS = st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10}){1,2}", fullmatch=True)
NUMBERS = st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True)
CASES = st.sampled_from([str.upper, str.lower, str.title, str.swapcase])


@given(LOCALS, DOMAINS, CASES)
def test_case_makes_no_other_mail_address(local: str, domain: str, case: object) -> None:
    assert callable(case)
    assert mail_address(f"{local}@{domain}") == mail_address(f"{local}@{case(domain)}")
    assert mail_address(f"{local}@{domain}") == mail_address(f" {case(local)}@{domain} ")


@given(LOCALS, st.from_regex(r"[a-z0-9]{1,10}", fullmatch=True), DOMAINS)
def test_plus_address_is_one_of_its_own(local: str, tag: str, domain: str) -> None:
    assert mail_address(f"{local}+{tag}@{domain}") != mail_address(f"{local}@{domain}")


@given(LOCALS, LOCALS, DOMAINS)
def test_other_mailboxes_are_other_addresses(one: str, other: str, domain: str) -> None:
    same = one.lower() == other.lower()
    assert (mail_address(f"{one}@{domain}") == mail_address(f"{other}@{domain}")) == same


@given(NUMBERS, st.sampled_from([" ", "-", ".", " (", ") "]), st.integers(2, 6))
def test_spacing_makes_no_other_number(number: str, gap: str, at: int) -> None:
    assert phone_number(number[:at] + gap + number[at:]) == phone_number(number)


@given(NUMBERS, NUMBERS)
def test_other_numbers_are_other_addresses(one: str, other: str) -> None:
    assert (phone_number(one) == phone_number(other)) == (one == other)


@pytest.mark.parametrize(
    "text", ["", "+", "0151234567", "+0151234567", "+49", "+49123456789012345", "+49a1234567"]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"E\.164"):
        phone_number(text)


@given(NUMBERS)
def test_an_id_names_its_address_and_shows_nobody(number: str) -> None:
    address = phone_number(number)
    assert read_address(address.id) == address
    assert re.fullmatch(r"sms-[0-9a-f]{64}", address.id)


@pytest.mark.parametrize("text", ["", "email-", "email-abc", "fax-" + "0" * 64, "email-" + "G" * 64, "0" * 64])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"id of an address|Channel"):
        read_address(text)


def test_channels_do_not_mix() -> None:
    assert {phone_number("+491512345678").channel, mail_address("a@b.example").channel} == set(Channel)
