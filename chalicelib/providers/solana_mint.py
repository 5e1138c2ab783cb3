"""The mint of a ticket in Token-2022's own bytes: the instructions that make one, and the account that one is.

`solders` has no instructions of Token-2022, so they are written out here. Layouts: the interface of the program
(https://github.com/solana-program/token-2022) and of its metadata
(https://github.com/solana-program/token-metadata).
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from solders.instruction import AccountMeta, Instruction
from solders.keypair import Keypair
from solders.pubkey import Pubkey
from solders.system_program import (
    ID,
    AllocateParams,
    AssignParams,
    TransferParams,
    allocate,
    assign,
    transfer,
)
from solders.token.associated import get_associated_token_address

from chalicelib.domain.minting import Ticket

SYSTEM_PROGRAM = ID
TOKEN_2022 = Pubkey.from_string("TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb")
ASSOCIATED = Pubkey.from_string("ATokenGPvbdGVxr1b2hvZbsiqW5xWH25efTNsLJA8knL")

# In bytes. A mint with extensions is padded to the size of a token account, then says that it is a mint.
TOKEN_ACCOUNT = 165
MINT_WITH_POINTER = TOKEN_ACCOUNT + 1 + 4 + 64
POINTER, METADATA = 18, 19  # types of extensions
MINT_KIND = 1
INITIALIZED = 1

INITIALIZE_METADATA = sha256(b"spl_token_metadata_interface:initialize_account").digest()[:8]
UPDATE_FIELD = sha256(b"spl_token_metadata_interface:updating_field").digest()[:8]
OTHER_FIELD = b"\x03"  # neither the name nor the symbol nor the uri


@dataclass(frozen=True, slots=True)
class MintAccount:
    """A mint with its metadata, as its account holds it."""

    supply: int
    decimals: int
    has_authority: bool
    can_freeze: bool
    name: str
    uri: str
    fields: Mapping[str, str]


def mint_keypair(secret: str, ticket: Ticket) -> Keypair:
    """Return the key of a ticket's mint: one per seat of a venue's event, or per ticket where there is none.

    Without the secret nobody can tell the address beforehand, nor sign for it.
    """
    kind, place = ("ticket", ticket.ticket_id) if ticket.seat_id is None else ("seat", ticket.seat_id)
    named = json.dumps([ticket.venue_id, ticket.event_id, kind, place]).encode()
    return Keypair.from_seed(hmac.digest(secret.encode(), named, "sha256"))


def token_account(ticket: Ticket, mint: Pubkey) -> Pubkey:
    """Return the owner's associated account; raises ValueError when the wallet is no address."""
    return get_associated_token_address(Pubkey.from_string(ticket.wallet), mint, TOKEN_2022)


def fields_of(ticket: Ticket) -> dict[str, str]:
    """Return what the metadata holds beside the name and the uri."""
    seat = {} if ticket.seat_id is None else {"seat": ticket.seat_id}
    return {**ticket.attributes, "event": ticket.event_id, "ticket": ticket.ticket_id, **seat}


def full_size(ticket: Ticket) -> int:
    """Return the size of the whole account: its rent is paid before the metadata is written."""
    fields = fields_of(ticket)
    texts = [ticket.name, "", ticket.uri, *fields, *fields.values()]
    return MINT_WITH_POINTER + 4 + 64 + 4 + sum(len(_text(each)) for each in texts)


def instructions(ticket: Ticket, payer: Pubkey, mint: Pubkey, rent: int) -> list[Instruction]:
    """Return the one transaction: a mint, its metadata, one token to the owner, and then no authority.

    The account is allocated and assigned rather than created, since creating fails at an address to which
    somebody has sent lamports.
    """
    account = token_account(ticket, mint)
    initialize = INITIALIZE_METADATA + _text(ticket.name) + _text("") + _text(ticket.uri)
    return [
        transfer(TransferParams(from_pubkey=payer, to_pubkey=mint, lamports=rent)),
        allocate(AllocateParams(pubkey=mint, space=MINT_WITH_POINTER)),
        assign(AssignParams(pubkey=mint, owner=TOKEN_2022)),
        _token(b"\x27\x00" + bytes(32) + bytes(mint), _to(mint)),  # the metadata lies in the mint itself
        _token(b"\x14\x00" + bytes(payer) + b"\x00", _to(mint)),  # InitializeMint2: no decimals, no freezing
        _token(initialize, _to(mint), _of(payer), _of(mint), _by(payer)),
        *(
            _token(UPDATE_FIELD + OTHER_FIELD + _text(name) + _text(value), _to(mint), _by(payer))
            for name, value in fields_of(ticket).items()
        ),
        _open_account(ticket, payer, mint, account),
        _token(b"\x07" + (1).to_bytes(8, "little"), _to(mint), _to(account), _by(payer)),  # MintTo
        _token(b"\x06\x00\x00", _to(mint), _by(payer)),  # SetAuthority: nobody mints any more
    ]


def _open_account(ticket: Ticket, payer: Pubkey, mint: Pubkey, account: Pubkey) -> Instruction:
    """Return CreateIdempotent of the associated account."""
    metas = [
        AccountMeta(payer, is_signer=True, is_writable=True),
        _to(account),
        _of(Pubkey.from_string(ticket.wallet)),
        _of(mint),
        _of(SYSTEM_PROGRAM),
        _of(TOKEN_2022),
    ]
    return Instruction(ASSOCIATED, b"\x01", metas)


def _token(data: bytes, *accounts: AccountMeta) -> Instruction:
    return Instruction(TOKEN_2022, data, list(accounts))


def _to(account: Pubkey) -> AccountMeta:
    return AccountMeta(account, is_signer=False, is_writable=True)


def _of(account: Pubkey) -> AccountMeta:
    return AccountMeta(account, is_signer=False, is_writable=False)


def _by(account: Pubkey) -> AccountMeta:
    return AccountMeta(account, is_signer=True, is_writable=False)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "little") + encoded


def parse_mint(data: bytes, address: Pubkey) -> MintAccount | None:
    """Return the mint that an account of Token-2022 holds, None if it is none with metadata of its own."""
    if len(data) <= TOKEN_ACCOUNT or data[TOKEN_ACCOUNT] != MINT_KIND or data[45] != INITIALIZED:
        return None
    extensions = _extensions(data)
    if extensions.get(POINTER, b"")[32:64] != bytes(address) or METADATA not in extensions:
        return None
    reader = _Reader(extensions[METADATA][64:])
    try:
        name, _, uri = reader.text(), reader.text(), reader.text()
        fields = {reader.text(): reader.text() for _ in range(reader.number())}
    except (IndexError, UnicodeDecodeError):
        return None
    return MintAccount(
        supply=int.from_bytes(data[36:44], "little"),
        decimals=data[44],
        has_authority=data[:4] != bytes(4),
        can_freeze=data[46:50] != bytes(4),
        name=name,
        uri=uri,
        fields=fields,
    )


def holds_one(data: bytes, wallet: Pubkey, mint: Pubkey) -> bool:
    """Whether a token account of Token-2022 is this wallet's and holds the one token of this mint."""
    return (
        len(data) >= TOKEN_ACCOUNT
        and data[:32] == bytes(mint)
        and data[32:64] == bytes(wallet)
        and int.from_bytes(data[64:72], "little") == 1
    )


def _extensions(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    at = TOKEN_ACCOUNT + 1
    while at + 4 <= len(data):
        kind, size = (
            int.from_bytes(data[at : at + 2], "little"),
            int.from_bytes(data[at + 2 : at + 4], "little"),
        )
        found[kind] = data[at + 4 : at + 4 + size]
        at += 4 + size
    return found


class _Reader:
    """Reads Borsh; raises IndexError past the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def number(self) -> int:
        return int.from_bytes(self._take(4), "little")

    def text(self) -> str:
        return self._take(self.number()).decode()

    def _take(self, size: int) -> bytes:
        if len(self._data) < size:
            raise IndexError
        taken, self._data = self._data[:size], self._data[size:]
        return taken
