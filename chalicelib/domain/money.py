"""Currencies: the ISO 4217 codes that money may be in, and how many decimals their minor unit has."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

LEAST_AMOUNT = 1
MOST_AMOUNT = 99_999_999  # minor units of any currency

_TWO = """
AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC
CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR
JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD
NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN
SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG
"""
_ZERO = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"

EXPONENTS: Mapping[str, int] = MappingProxyType(
    {code: exponent for exponent, codes in ((0, _ZERO), (2, _TWO), (3, _THREE)) for code in codes.split()}
)


def is_currency(code: str) -> bool:
    """Whether this is a currency that is paid with, as ISO 4217 writes it: three upper-case letters."""
    return code in EXPONENTS


def stated(payload: Mapping[str, Any] | None) -> tuple[str, int] | None:
    """Return the currency and the minor units that a job's payload is about; None: about none, or not known."""
    amount, currency = ((payload or {}).get(name) for name in ("amount", "currency"))
    if isinstance(amount, int) and isinstance(currency, str) and is_currency(currency.upper()):
        return currency.upper(), amount
    return None
