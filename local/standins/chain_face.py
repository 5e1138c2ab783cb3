"""STAND-IN, never deployed: a JSON-RPC node over LiteSVM, which runs Solana's own programs in here.

What differs from a real node: every transaction is final at once, blocks come only by the clock, and there is
one valid blockhash at a time, renewed when half of its life is over. What landed is kept with the books, so a
chain that is begun anew over a file goes on where it was.
"""

import base64
import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NoReturn

from solders.account import Account
from solders.keypair import Keypair
from solders.litesvm import LiteSVM
from solders.pubkey import Pubkey
from solders.transaction import Transaction
from solders.transaction_metadata import FailedTransactionMetadata
from solders.transaction_status import TransactionErrorInstructionError

from local.standins.books import Books
from local.standins.faults import Faults, Mode, Provider
from local.standins.wire import Answer, Request, Silent

SLOT_SECONDS = 0.4
VALID_FOR = 150  # blocks
SLOW_SECONDS = 2.0
START_LAMPORTS = 1_000_000_000_000

STATUSES: Mapping[Mode, int] = {Mode.STATUS_429: 429, Mode.STATUS_500: 500, Mode.STATUS_503: 503}


@dataclass
class Clockwork:
    """Where the chain is: when it began (seconds since 1970), what passed by order, how long its hash holds."""

    began: float
    passed: int = 0
    hashes: int = 0  # given out before the present one
    hash_until: int = VALID_FOR


class RpcError(Exception):
    """The node says no."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.body = {"code": code, "message": message, "data": data}


class ChainFace:
    """Answers POST /solana, and POST /_chain `{"blocks": n}` lets n blocks pass; faults strike broadcasts.

    `authority` has lamports from the start; what the books hold of an earlier run is there again.
    """

    def __init__(self, books: Books, faults: Faults, now: Callable[[], datetime], authority: str) -> None:
        self._books = books
        self._faults = faults
        self._now = now
        self._lock = threading.Lock()
        self._svm = LiteSVM().with_transaction_history(100_000)
        self._svm.airdrop(Keypair.from_base58_string(authority).pubkey(), START_LAMPORTS)
        kept = books.on_chain("clock")
        self._clock = Clockwork(**kept[""]) if kept else Clockwork(began=now().timestamp())
        self._landed: dict[str, dict[str, int]] = books.on_chain("landed ")
        for address, account in books.on_chain("account ").items():
            self._svm.set_account(Pubkey.from_string(address), Account.from_json(json.dumps(account)))
        for _ in range(self._clock.hashes):
            self._svm.expire_blockhash()  # one that was given out before is not taken again
        self._renew()

    def fund(self, address: str, lamports: int) -> None:
        """Give an address lamports, as anybody may."""
        with self._lock:
            self._svm.airdrop(Pubkey.from_string(address), lamports)

    def pass_blocks(self, count: int) -> int:
        """Let blocks pass, and blockhashes with them; return the height."""
        with self._lock:
            self._clock.passed += count
            return self._height()

    def answer(self, request: Request) -> Answer:
        """Answer a call; raises Silent where a fault says so."""
        asked = json.loads(request.body)
        fault = (
            self._faults.take(Provider.SOLANA, tuple(Mode)) if asked["method"] == "sendTransaction" else None
        )
        if fault is not None and fault in STATUSES:
            return Answer(STATUSES[fault], b"the node does not answer", {"Content-Type": "text/plain"})
        if fault is Mode.TIMEOUT_BEFORE:
            raise Silent
        if fault is Mode.SLOW:
            time.sleep(SLOW_SECONDS)
        said: dict[str, Any] = {"jsonrpc": "2.0", "id": asked.get("id")}
        try:
            method = _refuse if fault is Mode.DECLINE else METHODS.get(asked["method"], _unknown)
            with self._lock:
                said["result"] = method(self, asked.get("params") or [])
        except RpcError as error:
            said["error"] = error.body
        if fault is Mode.TIMEOUT_AFTER:
            raise Silent
        return Answer(200, said)

    def _height(self) -> int:
        return int((self._now().timestamp() - self._clock.began) / SLOT_SECONDS) + self._clock.passed

    def _context(self) -> dict[str, Any]:
        return {"slot": self._height()}

    def _epoch(self, _: list[Any]) -> Any:
        height = self._height()
        return {"absoluteSlot": height, "blockHeight": height, "epoch": 0, "slotIndex": height}

    def _block_height(self, _: list[Any]) -> Any:
        return self._height()

    def _rent(self, params: list[Any]) -> Any:
        return self._svm.minimum_balance_for_rent_exemption(params[0])

    def _blockhash(self, _: list[Any]) -> Any:
        if self._clock.hash_until - self._height() < VALID_FOR // 2:
            self._renew()
        value = {"blockhash": str(self._svm.latest_blockhash()), "lastValidBlockHeight": self._clock.hash_until}
        return {"context": self._context(), "value": value}

    def _renew(self) -> None:
        self._svm.expire_blockhash()
        self._clock.hashes += 1
        self._clock.hash_until = self._height() + VALID_FOR
        self._books.keep_on_chain("clock", asdict(self._clock))

    def _accounts(self, params: list[Any]) -> Any:
        return {"context": self._context(), "value": [self._account_at(each) for each in params[0]]}

    def _account(self, params: list[Any]) -> Any:
        return {"context": self._context(), "value": self._account_at(params[0])}

    def _account_at(self, address: str) -> Any:
        found = self._svm.get_account(Pubkey.from_string(address))
        if found is None or not found.lamports:
            return None
        data = base64.b64encode(found.data).decode()
        return {
            "lamports": found.lamports,
            "owner": str(found.owner),
            "data": [data, "base64"],
            "executable": False,
        }

    def _send(self, params: list[Any]) -> Any:
        if self._height() > self._clock.hash_until:
            self._renew()
        transaction = Transaction.from_bytes(base64.b64decode(params[0]))
        outcome = self._svm.send_transaction(transaction)
        if isinstance(outcome, FailedTransactionMetadata):
            raise RpcError(-32002, "Transaction simulation failed", {"err": _error(outcome.err())})
        signature = str(transaction.signatures[0])
        self._keep(transaction, signature, outcome.fee())
        return signature

    def _keep(self, transaction: Transaction, signature: str, fee: int) -> None:
        """Write down what a transaction came to: its accounts, that it landed, and a line in the ledger."""
        addresses = transaction.message.account_keys
        self._landed[signature] = {"slot": self._height(), "fee": fee}
        with self._books.change():
            self._books.keep_on_chain("clock", asdict(self._clock))
            self._books.keep_on_chain(f"landed {signature}", self._landed[signature])
            for address in addresses:
                account = self._svm.get_account(address)
                if account is not None and account.data and not account.executable:
                    self._books.keep_on_chain(f"account {address}", json.loads(account.to_json()))
            self._books.enter(
                Provider.SOLANA, "mint", key=str(addresses[1]), job=None, amount=None, at=self._now()
            )

    def _statuses(self, params: list[Any]) -> Any:
        known = [self._landed.get(each) for each in params[0]]
        final = {"err": None, "confirmationStatus": "finalized"}
        value = [None if each is None else {"slot": each["slot"], **final} for each in known]
        return {"context": self._context(), "value": value}

    def _transaction(self, params: list[Any]) -> Any:
        known = self._landed.get(params[0])
        return None if known is None else {"slot": known["slot"], "meta": {"err": None, "fee": known["fee"]}}


def _refuse(_: ChainFace, __: list[Any]) -> NoReturn:
    raise RpcError(
        -32002, "Transaction simulation failed", {"err": {"InstructionError": [3, "InvalidAccountData"]}}
    )


def _unknown(_: ChainFace, __: list[Any]) -> NoReturn:
    raise RpcError(-32601, "Method not found")


METHODS: Mapping[str, Callable[[ChainFace, list[Any]], Any]] = {
    "getAccountInfo": ChainFace._account,
    "getBlockHeight": ChainFace._block_height,
    "getEpochInfo": ChainFace._epoch,
    "getLatestBlockhash": ChainFace._blockhash,
    "getMinimumBalanceForRentExemption": ChainFace._rent,
    "getMultipleAccounts": ChainFace._accounts,
    "getSignatureStatuses": ChainFace._statuses,
    "getTransaction": ChainFace._transaction,
    "sendTransaction": ChainFace._send,
}


def _error(error: Any) -> Any:
    """Return an error as a node's JSON has it; solders' own JSON leaves out the names."""
    if isinstance(error, TransactionErrorInstructionError):
        inner = error.err
        code = getattr(inner, "code", None)
        return {"InstructionError": [error.index, {"Custom": code} if code is not None else str(inner)]}
    return str(error).rpartition(".")[2]
