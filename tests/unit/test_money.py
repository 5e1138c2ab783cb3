import pytest

from chalicelib.domain.money import EXPONENTS, is_currency


@pytest.mark.parametrize(
    ("code", "exponent"), [("EUR", 2), ("USD", 2), ("JPY", 0), ("KRW", 0), ("ISK", 0), ("KWD", 3), ("TND", 3)]
)
def test_minor_units_follow_iso_4217(code: str, exponent: int) -> None:
    assert EXPONENTS[code] == exponent


@pytest.mark.parametrize(
    "code", ["", "eur", "EURO", "EU", "XXX", "XTS", "XAU", "DEM", "HRK", "E\u00dcR", " EUR"]
)
def test_what_nobody_can_pay_with_is_no_currency(code: str) -> None:
    assert not is_currency(code)


def test_every_code_is_three_upper_case_letters() -> None:
    assert all(len(code) == 3 and code.isascii() and code.isalpha() and code.isupper() for code in EXPONENTS)
    assert len(EXPONENTS) > 150
