"""A ticket as a token on a chain: what is asked for, what is signed, what is found there."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from chalicelib.domain.job import JobId


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a mint job asks for; frozen across attempts and generations. `wallet` is a Solana address."""

    job_id: JobId
    venue_id: str
    event_id: str
    ticket_id: str
    seat_id: str | None
    wallet: str
    name: str
    uri: str
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class SignedMint:
    """A transaction that is ready to be broadcast; no block above `last_valid_height` takes it.

    `mint` is the address of the ticket's mint.
    """

    job_id: JobId
    mint: str
    signature: str
    blockhash: str
    last_valid_height: int
    transaction: bytes


class Standing(StrEnum):
    """What stands at a ticket's mint address."""

    ABSENT = "absent"  # no mint, whatever lamports somebody may have sent there
    MINTED = "minted"  # every condition holds, and it went to the ticket's wallet
    ANOTHERS = "anothers"  # a whole mint, but of other words or never in this wallet as far as can be seen
    UNSOUND = "unsound"  # something that proves nothing: another program's, another supply, an authority left


@dataclass(frozen=True, slots=True)
class OnChain:
    """What was read of a ticket at `finalized`; `height` was reached before the rest was read."""

    standing: Standing
    height: int
    mint: str
    token_account: str
    signature: str | None = None
    slot: int | None = None
    fee_lamports: int | None = None
