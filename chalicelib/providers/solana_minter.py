"""Tickets on Solana over JSON-RPC, a node's answers translated at the edge to `domain/errors.py`.

Everything is read at `finalized`, which no fork takes back. Of what a node says of an error only its meaning is
kept: its words quote addresses and logs.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.minting import OnChain, SignedMint, Standing, Ticket
from chalicelib.domain.ports import Clock
from chalicelib.domain.providers import Begun
from chalicelib.providers.http_calls import Line, Reply, read_anew
from chalicelib.settings.environment import LEAST_SECRET_BYTES

if TYPE_CHECKING:
    from solders.keypair import Keypair
    from solders.pubkey import Pubkey

    from chalicelib.providers.solana_mint import MintAccount

CALL_SECONDS = 5.0  # connecting included
CALL_TIME = timedelta(seconds=6)  # the longest that a call may take, our own part included
FINAL_WITHIN = timedelta(seconds=20)  # the chain takes about 13
ASK_EVERY = 1.0  # seconds
LARGEST_TRANSACTION = 1232  # bytes; the network takes no larger one
FUNDS_AFTER = timedelta(minutes=5)  # somebody has to send lamports
FINALIZED: Mapping[str, Any] = {"commitment": "finalized"}
HEADERS: Mapping[str, str] = {"Content-Type": "application/json", "Accept": "application/json"}

PREFLIGHT_FAILED = -32002
ALLOCATES = 1  # its place in the transaction, see `solana_mint.instructions`
TAKEN, NO_LAMPORTS = {"Custom": 0}, {"Custom": 1}  # of the system program
NO_FUNDS = ("AccountNotFound", "InsufficientFundsForFee")
BY_STATUS: Mapping[int, str] = {
    401: "provider_not_authenticated",
    403: "provider_not_permitted",
    429: "provider_rate_limited",
}
# The node is behind, or does not know yet what it is asked.
BY_CODE: Mapping[int, str] = {
    -32004: "node_behind",
    -32005: "node_behind",
    -32014: "node_behind",
    -32016: "node_behind",
    429: "provider_rate_limited",
}
SENTENCES: Mapping[str, str] = {
    "address_taken": "Something stands at the ticket's address since a moment ago.",
    "already_processed": "The node has seen this transaction before.",
    "authority_key_invalid": "The key of the minting authority is no Solana key.",
    "authority_out_of_funds": "The minting authority has too few lamports.",
    "blockhash_not_found": "The node does not know the blockhash.",
    "invalid_wallet": "The wallet is no Solana address.",
    "metadata_too_large": "The metadata does not fit into one transaction.",
    "mint_rejected": "The node refused the transaction.",
    "mint_secret_short": "The secret that mint addresses are made of is too short.",
    "node_behind": "The node is behind the chain.",
    "provider_failed": "The node failed.",
    "provider_moved": "The node sends its callers elsewhere.",
    "provider_not_authenticated": "The node does not take our credentials.",
    "provider_not_permitted": "Our credentials may not do this at the node.",
    "provider_rate_limited": "The node takes no more requests at the moment.",
}


class SolanaMinter:
    """Implements `providers.Minter`, for any number of threads. Making one imports solders.

    `url` returns the node's URL, read anew if asked to be: those who run nodes put our key in it. `authority`
    is the secret key that pays, as `solana-keygen` writes it or in base 58. Raises NotSent, which quotes
    nothing, when a secret is not usable.
    """

    def __init__(
        self,
        url: Callable[[bool], str],
        authority: str,
        mint_secret: str,
        clock: Clock,
        *,
        call_seconds: float = CALL_SECONDS,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if len(mint_secret.encode()) < LEAST_SECRET_BYTES:
            raise NotSent("mint_secret_short", SENTENCES["mint_secret_short"])
        self._url = url
        self._authority = _keypair(authority)
        self._mint_secret = mint_secret
        self._clock = clock
        self._sleep = sleep
        self._line = Line("the Solana node", clock, call_seconds=call_seconds, call_time=CALL_TIME)

    def close(self) -> None:
        """Close the connections."""
        self._line.close()

    def read(self, ticket: Ticket, *, sent: str | None, deadline: datetime) -> OnChain:
        """Read what stands at the ticket's address, never older than the height that is told."""
        from solders.pubkey import Pubkey

        from chalicelib.providers.solana_mint import holds_one, mint_keypair, token_account

        mint = mint_keypair(self._mint_secret, ticket).pubkey()
        account = _checked(lambda: token_account(ticket, mint))
        reached = self._ask("getEpochInfo", [FINALIZED], deadline)
        with _understood():
            height, slot = int(reached["blockHeight"]), int(reached["absoluteSlot"])
        options = {**FINALIZED, "encoding": "base64", "minContextSlot": slot}
        found = self._ask("getMultipleAccounts", [[str(mint), str(account)], options], deadline)
        with _understood():
            at_mint, at_account = (_Account.of(each) for each in found["value"])
        standing = _standing(ticket, mint, at_mint)
        made = self._landed(sent, deadline) if sent and standing is Standing.MINTED else None
        if standing is Standing.MINTED and made is None:
            wallet = Pubkey.from_string(ticket.wallet)
            if at_account is None or not at_account.is_token or not holds_one(at_account.data, wallet, mint):
                standing = Standing.ANOTHERS
        return OnChain(
            standing=standing,
            height=height,
            mint=str(mint),
            token_account=str(account),
            signature=sent if made else None,
            slot=made[0] if made else None,
            fee_lamports=made[1] if made else None,
        )

    def prepare(self, ticket: Ticket, *, deadline: datetime) -> SignedMint:
        """Sign the transaction that mints a ticket."""
        from solders.hash import Hash, ParseHashError
        from solders.message import Message
        from solders.transaction import Transaction

        from chalicelib.providers.solana_mint import full_size, instructions, mint_keypair

        key = mint_keypair(self._mint_secret, ticket)
        rent = self._ask("getMinimumBalanceForRentExemption", [full_size(ticket)], deadline)
        latest = self._ask("getLatestBlockhash", [FINALIZED], deadline)
        with _understood(ParseHashError):
            lamports, last_valid = int(rent), int(latest["value"]["lastValidBlockHeight"])
            blockhash = Hash.from_string(latest["value"]["blockhash"])
        payer = self._authority.pubkey()
        steps = _checked(lambda: instructions(ticket, payer, key.pubkey(), lamports))
        message = Message.new_with_blockhash(steps, payer, blockhash)
        signed = Transaction([self._authority, key], message, blockhash)
        if len(bytes(signed)) > LARGEST_TRANSACTION:
            raise Declined("metadata_too_large", SENTENCES["metadata_too_large"])
        return SignedMint(
            job_id=ticket.job_id,
            mint=str(key.pubkey()),
            signature=str(signed.signatures[0]),
            blockhash=str(blockhash),
            last_valid_height=last_valid,
            transaction=bytes(signed),
        )

    def submit(self, mint: SignedMint, *, begun: Begun, deadline: datetime) -> None:
        """Broadcast a transaction and wait, but not for ever, until it is final."""
        if begun.job_id != mint.job_id:
            raise ValueError("The record that says begun is another job's.")
        encoded = base64.b64encode(mint.transaction).decode()
        options = {"encoding": "base64", "preflightCommitment": "finalized", "maxRetries": 5}
        self._call("sendTransaction", [encoded, options], deadline)
        until = min(deadline - CALL_TIME, self._clock.now() + FINAL_WITHIN)
        while not self._is_final(mint.signature, deadline) and self._clock.now() < until:
            self._sleep(ASK_EVERY)

    def _is_final(self, signature: str, deadline: datetime) -> bool:
        try:
            found = self._ask("getSignatureStatuses", [[signature]], deadline)
            with _understood():
                status = found["value"][0]
                return status is not None and status["confirmationStatus"] == "finalized"
        except ProviderError:
            return False  # it is out already: what came of it is read later

    def _landed(self, signature: str, deadline: datetime) -> tuple[int, int] | None:
        """Return slot and fee of a transaction that is on the chain and did what it was to do."""
        options = {**FINALIZED, "encoding": "base64", "maxSupportedTransactionVersion": 0}
        found = self._ask("getTransaction", [signature, options], deadline)
        with _understood():
            if found is None or found["meta"]["err"] is not None:
                return None
            return int(found["slot"]), int(found["meta"]["fee"])

    def _ask(self, method: str, params: list[Any], deadline: datetime) -> Any:
        """Call what has no effect: whatever breaks it, nothing has happened."""
        try:
            return self._call(method, params, deadline)
        except (Ambiguous, Declined) as error:
            raise TurnedAway(error.reason, error.message) from error

    def _call(self, method: str, params: list[Any], deadline: datetime) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        reply = self._line.post(self._url(False), body, HEADERS, deadline=deadline)
        if reply.status in (401, 403):
            read_anew(self._url)
        return _result(reply, self._clock.now())


class _Account:
    """An account as a node gives it."""

    def __init__(self, owner: str, data: bytes) -> None:
        from chalicelib.providers.solana_mint import SYSTEM_PROGRAM, TOKEN_2022

        self.data = data
        self.is_token = owner == str(TOKEN_2022)
        self.is_plain = owner == str(SYSTEM_PROGRAM) and not data

    @classmethod
    def of(cls, given: Mapping[str, Any] | None) -> "_Account | None":
        return None if given is None else cls(given["owner"], base64.b64decode(given["data"][0]))


def _standing(ticket: Ticket, mint: "Pubkey", account: _Account | None) -> Standing:
    """Judge what lies at a mint's address; who holds it is not asked here."""
    from chalicelib.providers.solana_mint import parse_mint

    if account is None or account.is_plain:
        return Standing.ABSENT
    found = parse_mint(account.data, mint) if account.is_token else None
    if found is None or not _is_sound(found):
        return Standing.UNSOUND
    return Standing.MINTED if _says(found, ticket) else Standing.ANOTHERS


def _is_sound(mint: "MintAccount") -> bool:
    return (mint.supply, mint.decimals, mint.has_authority, mint.can_freeze) == (1, 0, False, False)


def _says(mint: "MintAccount", ticket: Ticket) -> bool:
    from chalicelib.providers.solana_mint import fields_of

    return (mint.name, mint.uri, dict(mint.fields)) == (ticket.name, ticket.uri, fields_of(ticket))


def _keypair(authority: str) -> "Keypair":
    from solders.keypair import Keypair

    try:
        if authority.startswith("["):
            return Keypair.from_bytes(bytes(json.loads(authority)))
        return Keypair.from_base58_string(authority)
    except BaseException as error:  # solders panics on some texts, and a panic is no Exception
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise NotSent("authority_key_invalid", SENTENCES["authority_key_invalid"]) from None


def _checked(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except ValueError as error:
        raise Declined("invalid_wallet", SENTENCES["invalid_wallet"]) from error


@contextmanager
def _understood(*others: type[Exception]) -> Iterator[None]:
    """Have an answer of a read that is not as it should be say nothing."""
    broken: tuple[type[Exception], ...] = (LookupError, TypeError, ValueError, *others)
    try:
        yield
    except broken as error:
        raise _turned_away("provider_failed") from error


def _result(reply: Reply, now: datetime) -> Any:
    """Return what a node answered; raises the error that an answer stands for."""
    if reply.status in BY_STATUS:
        raise _turned_away(BY_STATUS[reply.status], after=reply.retry_after(now))
    if 300 <= reply.status < 400:
        raise _turned_away("provider_moved")
    answer = reply.document
    if reply.ok and "result" in answer:
        return answer["result"]
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    if isinstance(code, int) and code in BY_CODE:
        raise _turned_away(BY_CODE[code], after=reply.retry_after(now))
    if isinstance(error, dict) and code == PREFLIGHT_FAILED:
        data = error.get("data")
        raise _preflight(data.get("err") if isinstance(data, dict) else None)
    raise Ambiguous("provider_failed", SENTENCES["provider_failed"])


def _preflight(said: Any) -> ProviderError:
    """Translate what a node found when it tried a transaction out; it has not passed it on."""
    place, why = _instruction_error(said)
    if said == "AlreadyProcessed":
        return Ambiguous("already_processed", SENTENCES["already_processed"])
    if said == "BlockhashNotFound":
        return _turned_away("blockhash_not_found")
    poor = why == NO_LAMPORTS or (isinstance(said, dict) and "InsufficientFundsForRent" in said)
    if poor or said in NO_FUNDS:
        return _turned_away("authority_out_of_funds", after=FUNDS_AFTER)
    if (place, why) == (ALLOCATES, TAKEN):
        return _turned_away("address_taken")  # the next attempt reads what stands there
    return Declined("mint_rejected", SENTENCES["mint_rejected"])


def _instruction_error(said: Any) -> tuple[Any, Any]:
    """Return which instruction failed and why; None and None where it was none of them."""
    told = said.get("InstructionError") if isinstance(said, dict) else None
    return tuple(told) if isinstance(told, list) and len(told) == 2 else (None, None)


def _turned_away(reason: str, *, after: timedelta | None = None) -> TurnedAway:
    return TurnedAway(reason, SENTENCES[reason], after=after)
