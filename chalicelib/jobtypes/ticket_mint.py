"""ticket.mint: one ticket as a token of its own on Solana, one transaction.

Class B: the record holds the transaction's signature, its blockhash and the last block that can take it
before it is broadcast. What came of it is read from the chain alone, at `finalized`: a whole mint is completed;
none, and the chain past that block, means that it never will land, and only then is another one made.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Any

from chalicelib.domain.claim import Leave
from chalicelib.domain.errors import ProviderError
from chalicelib.domain.jobtype import Facts, JobType, Work
from chalicelib.domain.minting import OnChain, SignedMint, Standing, Ticket
from chalicelib.domain.outcome import Completed, Failure, Outcome, Refused, Retry, Unknown, outcome_of
from chalicelib.domain.policies import RETRY, EffectClass, Tier
from chalicelib.domain.providers import Minter, Providers

UNSOUND = Failure("mint_unsound", "What stands at the ticket's address is no whole ticket; a person must look.")
ANOTHERS = Failure(
    "already_minted", "This ticket or seat has been minted before, in other words or for another."
)
MOVED = Failure("address_changed", "The secret of the mint addresses has changed since; a person must look.")
UNSEEN = Failure("not_final_yet", "The transaction was sent and is not final yet.")
NOT_LANDED = Failure("not_landed", "The transaction is not on the chain.")


@dataclass(frozen=True, slots=True)
class Sent:
    """What the record says of the transaction that was, or was to be, broadcast."""

    signature: str
    blockhash: str
    last_valid_height: int
    mint: str

    @classmethod
    def of(cls, signed: SignedMint) -> "Sent":
        """Return what is to be kept of a signed transaction."""
        return cls(signed.signature, signed.blockhash, signed.last_valid_height, signed.mint)

    @classmethod
    def read(cls, handle: str | None) -> "Sent | None":
        """Return what a handle says; None if there is none."""
        if handle is None:
            return None
        signature, blockhash, last, mint = handle.split(":")
        return cls(signature, blockhash, int(last), mint)

    @property
    def handle(self) -> str:
        """The same as the record keeps it."""
        return f"{self.signature}:{self.blockhash}:{self.last_valid_height}:{self.mint}"


def run(work: Work, providers: Providers) -> Outcome:
    """Mint the ticket, or read what came of an earlier try."""
    minter, ticket = providers.minter, _ticket(work)
    if work.leave is not Leave.START:
        return _look_up(work, minter, ticket)
    before = minter.read(ticket, sent=None, deadline=work.deadline)
    if before.standing is not Standing.ABSENT:
        return _completed(before) if before.standing is Standing.MINTED else Refused(_why(before))
    signed = minter.prepare(ticket, deadline=work.deadline)
    begun = work.begin(Sent.of(signed).handle)
    try:
        minter.submit(signed, begun=begun, deadline=work.deadline)
    except ProviderError as error:
        return outcome_of(error)
    try:
        after = minter.read(ticket, sent=signed.signature, deadline=work.deadline)
    except ProviderError:
        return Unknown(UNSEEN)  # it is out, whatever becomes of the look
    return _completed(after) if after.standing is Standing.MINTED else Unknown(UNSEEN)


def _look_up(work: Work, minter: Minter, ticket: Ticket) -> Outcome:
    """Read what came of the transaction that the record names; only its absence past its last block clears."""
    sent = Sent.read(work.job.handle)
    seen = minter.read(ticket, sent=sent.signature if sent else None, deadline=work.deadline)
    if seen.standing is Standing.MINTED:
        return _completed(seen)
    if seen.standing is not Standing.ABSENT:
        return Unknown(_why(seen))
    if sent is not None and sent.mint != seen.mint:
        return Unknown(MOVED)
    return Retry(NOT_LANDED, clears_doubt=sent is not None and seen.height > sent.last_valid_height)


def _why(seen: OnChain) -> Failure:
    return UNSOUND if seen.standing is Standing.UNSOUND else ANOTHERS


def _completed(seen: OnChain) -> Completed:
    result: dict[str, Any] = {"mintAddress": seen.mint, "tokenAccount": seen.token_account}
    known = {"signature": seen.signature, "slot": seen.slot, "feeLamports": seen.fee_lamports}
    return Completed(
        result | {name: value for name, value in known.items() if value is not None}, handle=seen.mint
    )


def _ticket(work: Work) -> Ticket:
    data, metadata = work.data, work.data["metadata"]
    return Ticket(
        job_id=work.job.id,
        venue_id=work.job.venue_id,
        event_id=data["eventId"],
        ticket_id=data["ticketId"],
        seat_id=data.get("seatId"),
        wallet=data["walletAddress"],
        name=metadata["name"],
        uri=metadata["uri"],
        attributes=metadata.get("attributes", {}),
    )


def _natural_key(facts: Facts) -> tuple[object, ...]:
    data = facts.data
    kind, place = ("seat", data["seatId"]) if "seatId" in data else ("ticket", data["ticketId"])
    return (data["eventId"], kind, place)


def _id(description: str) -> Mapping[str, Any]:
    return {"type": "string", "minLength": 1, "maxLength": 64, "description": description}


SCHEMA: Mapping[str, Any] = MappingProxyType(
    {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "additionalProperties": False,
        "required": ["eventId", "ticketId", "walletAddress", "metadata"],
        "properties": {
            "eventId": _id("The event that the ticket is for."),
            "ticketId": _id("The ticket; of an event and a ticket, or seat, there is one mint for ever."),
            "seatId": _id("The seat, where the ticket has one."),
            "walletAddress": {
                "type": "string",
                "pattern": "^[1-9A-HJ-NP-Za-km-z]{32,44}$",
                "description": "a Solana address in base 58: the wallet that gets the ticket",
            },
            "metadata": {
                "type": "object",
                "additionalProperties": False,
                "required": ["name", "uri"],
                "properties": {
                    "name": {
                        "type": "string",
                        "minLength": 1,
                        "maxLength": 64,
                        "description": "As wallets show it.",
                    },
                    "uri": {
                        "type": "string",
                        "maxLength": 200,
                        "pattern": "^(https|ipfs|ar)://[!-~]+$",
                        "description": "where the ticket's JSON lies: https://, ipfs:// or ar://",
                    },
                    "attributes": {
                        "type": "object",
                        "maxProperties": 4,
                        "propertyNames": {
                            "pattern": "^[A-Za-z][A-Za-z0-9_]{0,23}$",
                            "not": {"enum": ["event", "ticket", "seat"]},
                        },
                        "additionalProperties": {"type": "string", "minLength": 1, "maxLength": 32},
                        "description": "Up to four more texts that stand on the chain, for everybody to read.",
                    },
                },
            },
        },
    }
)

JOB_TYPE = JobType(
    name="ticket.mint",
    aliases=("nft-mint",),
    tier=Tier.MONEY,
    provider="solana",
    effect_class=EffectClass.LOOKED_UP,
    schema=SCHEMA,
    natural_key=_natural_key,
    key_period=timedelta(days=365),
    retention=timedelta(days=365),
    archive="blockchain_archive",
    in_flight=3,
    retry=RETRY["mint"],
    run=run,
    run_time=timedelta(seconds=45),  # two looks, signing, the broadcast, and the wait until it is final
    attempts=10,
    example={
        "eventId": "event-2041",
        "ticketId": "ticket-88012",
        "seatId": "A-12",
        "walletAddress": "7v91N7iZ9mNicL8WfG6cgSCKyRXydQjLh6UYBWwm6y1Q",
        "metadata": {"name": "Night of Lights, seat A-12", "uri": "https://tickets.example/88012.json"},
    },
)
