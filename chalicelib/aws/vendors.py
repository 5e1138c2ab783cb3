"""What calls to SES and EventBridge have in common: how long one takes, and what one without an answer means.

Of what AWS says of an error only what it means is kept, and the id of the request: its words quote addresses.
"""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from botocore.exceptions import (
    BotoCoreError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from chalicelib.domain.errors import Ambiguous, NotSent, ProviderError

CALL_TIME = timedelta(seconds=5)  # connecting 1 s and reading 3 s, as `clients.py` sets them, and our own part
UNANSWERED = (BotoCoreError, ResponseParserError)

# Ours, the account's or the moment's, whatever the service: what was asked for may be asked for again.
NOT_THE_REQUEST: Mapping[str, str] = MappingProxyType(
    {
        "AccessDeniedException": "provider_not_permitted",
        "TooManyRequestsException": "provider_rate_limited",
        "ThrottlingException": "provider_rate_limited",
        "Throttling": "provider_rate_limited",
        "UnrecognizedClientException": "provider_not_authenticated",
        "InvalidClientTokenId": "provider_not_authenticated",
        "InvalidSignatureException": "provider_not_authenticated",
        "SignatureDoesNotMatch": "provider_not_authenticated",
        "ExpiredTokenException": "provider_not_authenticated",
        "ExpiredToken": "provider_not_authenticated",
        "RequestExpired": "provider_not_authenticated",
    }
)
BY_STATUS: Mapping[int, str] = MappingProxyType(
    {401: "provider_not_authenticated", 403: "provider_not_permitted", 429: "provider_rate_limited"}
)


def unanswered(error: Exception, service: str) -> ProviderError:
    """Translate a call without an answer: NotSent only where the connection never came about."""
    if isinstance(error, NoCredentialsError | PartialCredentialsError | NoRegionError):
        return NotSent("provider_not_configured", f"There are no credentials for {service}.")
    if isinstance(error, EndpointConnectionError | ConnectTimeoutError | ProxyConnectionError):
        return NotSent("connection_failed", f"{service} could not be reached.")
    if isinstance(error, SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(error):
        return NotSent("certificate_refused", f"The certificate of {service} does not hold.")
    if isinstance(error, ReadTimeoutError):
        return Ambiguous("provider_timeout", f"{service} did not answer in time.")
    return Ambiguous("connection_broken", f"The connection to {service} broke before it answered.")
