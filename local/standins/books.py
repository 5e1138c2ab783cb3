"""STAND-IN, never deployed: what the stand-ins remember, in one SQLite file, so that it outlives a restart."""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

SCHEMA = """
create table if not exists intents (
    seq integer primary key, id text unique not null, customer text, created integer not null,
    key text, document text not null);
create index if not exists intents_by_customer on intents (customer, created);
create table if not exists refunds (
    seq integer primary key, id text unique not null, charge text not null, document text not null);
create index if not exists refunds_by_charge on refunds (charge);
create table if not exists payouts (
    seq integer primary key, id text unique not null, kind text not null, grp text, created integer not null,
    document text not null);
create index if not exists payouts_by_group on payouts (kind, grp);
create table if not exists answers (
    key text primary key, fingerprint text not null, status integer not null, body text not null,
    at real not null);
create table if not exists effects (
    seq integer primary key, provider text not null, operation text not null, key text, job text,
    amount integer, at text not null);
create table if not exists chain (name text primary key, document text not null);
"""


@dataclass(frozen=True)
class KeptAnswer:
    """What was first answered under an idempotency key, and to which parameters."""

    fingerprint: str
    status: int
    body: dict[str, Any]
    at: float


class Books:
    """What is kept at Stripe and on the chain, and the ledger.

    One writer at a time: `change` is a transaction and a lock.
    """

    def __init__(self, path: str = ":memory:") -> None:
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = off")  # outlives the process; a power cut may cost it
        self._db.executescript(SCHEMA)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def change(self) -> Iterator[None]:
        """All of it or nothing, and nobody else in between."""
        with self._lock:
            self._db.execute("begin immediate")
            try:
                yield
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def save_intent(self, intent: dict[str, Any], key: str | None) -> None:
        """Write an intent, with the idempotency key of the call that last confirmed it."""
        self._write(
            "insert into intents (id, customer, created, key, document) values (?, ?, ?, ?, ?)"
            " on conflict (id) do update set document = excluded.document, key = excluded.key",
            (intent["id"], intent["customer"], intent["created"], key, json.dumps(intent)),
        )

    def intent(self, intent_id: str) -> tuple[dict[str, Any], str | None] | None:
        """Return an intent and the key that last confirmed it."""
        rows = self._read("select document, key from intents where id = ?", (intent_id,))
        return (json.loads(rows[0][0]), rows[0][1]) if rows else None

    def intents(self, customer: str | None, since: int, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Return intents, newest first, from the one after `after` on."""
        rows = self._read(
            "select document from intents where created >= ? and (? is null or customer = ?)"
            " and seq < coalesce((select seq from intents where id = ?), 9e18) order by seq desc limit ?",
            (since, customer, customer, after, limit),
        )
        return [json.loads(row[0]) for row in rows]

    def intent_of(self, charge_id: str) -> dict[str, Any] | None:
        """Return the intent that was charged by this charge."""
        sql = "select document from intents where json_extract(document, '$.latest_charge') = ?"
        rows = self._read(sql, (charge_id,))
        return json.loads(rows[0][0]) if rows else None

    def save_refund(self, refund: dict[str, Any]) -> None:
        """Write a new refund."""
        self._write(
            "insert into refunds (id, charge, document) values (?, ?, ?)",
            (refund["id"], refund["charge"], json.dumps(refund)),
        )

    def refunds(self, charge_id: str | None, after: str | None, limit: int) -> list[dict[str, Any]]:
        """Return refunds, newest first, from the one after `after` on."""
        rows = self._read(
            "select document from refunds where (? is null or charge = ?)"
            " and seq < coalesce((select seq from refunds where id = ?), 9e18) order by seq desc limit ?",
            (charge_id, charge_id, after, limit),
        )
        return [json.loads(row[0]) for row in rows]

    def refunded(self, charge_id: str) -> int:
        """Return how much of a charge has been given back."""
        sql = "select total(json_extract(document, '$.amount')) from refunds where charge = ?"
        return int(self._read(sql, (charge_id,))[0][0])

    def save_payout(self, made: dict[str, Any]) -> None:
        """Write a new payout or transfer."""
        values = (made["id"], made["object"], made.get("transfer_group"), made["created"], json.dumps(made))
        self._write("insert into payouts (id, kind, grp, created, document) values (?, ?, ?, ?, ?)", values)

    def payouts(
        self, kind: str, group: str | None, since: int, after: str | None, limit: int
    ) -> list[dict[str, Any]]:
        """Return payouts or transfers, newest first, from the one after `after` on."""
        rows = self._read(
            "select document from payouts where kind = ? and (? is null or grp = ?) and created >= ?"
            " and seq < coalesce((select seq from payouts where id = ?), 9e18) order by seq desc limit ?",
            (kind, group, group, since, after, limit),
        )
        return [json.loads(row[0]) for row in rows]

    def keep(self, key: str, answer: KeptAnswer) -> None:
        """Keep an answer under a key, in place of one whose time is over."""
        self._write(
            "insert or replace into answers values (?, ?, ?, ?, ?)",
            (key, answer.fingerprint, answer.status, json.dumps(answer.body), answer.at),
        )

    def kept(self, key: str) -> KeptAnswer | None:
        """Return the answer that is kept under a key."""
        rows = self._read("select fingerprint, status, body, at from answers where key = ?", (key,))
        return KeptAnswer(rows[0][0], rows[0][1], json.loads(rows[0][2]), rows[0][3]) if rows else None

    def keep_on_chain(self, name: str, document: Mapping[str, Any]) -> None:
        """Keep something of the chain under a name, in place of what was there."""
        self._write("insert or replace into chain values (?, ?)", (name, json.dumps(document)))

    def on_chain(self, prefix: str) -> dict[str, Any]:
        """Return all that is kept of the chain under names that begin so, by the rest of the name."""
        rows = self._read("select name, document from chain where name glob ?", (f"{prefix}*",))
        return {name.removeprefix(prefix): json.loads(document) for name, document in rows}

    def enter(
        self,
        provider: str,
        operation: str,
        *,
        key: str | None,
        job: str | None,
        amount: int | None,
        at: datetime,
    ) -> None:
        """Enter an effect in the ledger."""
        self._write(
            "insert into effects (provider, operation, key, job, amount, at) values (?, ?, ?, ?, ?, ?)",
            (provider, operation, key, job, amount, at.isoformat(timespec="milliseconds")),
        )

    def effects(self) -> list[dict[str, Any]]:
        """Return the ledger, oldest first."""
        names = ("provider", "operation", "idempotencyKey", "jobId", "amount", "at")
        rows = self._read("select provider, operation, key, job, amount, at from effects order by seq", ())
        return [dict(zip(names, row, strict=True)) for row in rows]

    def clear(self) -> None:
        """Forget everything."""
        with self.change():
            for table in ("intents", "refunds", "payouts", "answers", "effects", "chain"):
                self._db.execute(f"delete from {table}")  # noqa: S608 - words of ours

    def _write(self, statement: str, values: Sequence[object]) -> None:
        with self._lock:
            self._db.execute(statement, values)

    def _read(self, statement: str, values: Sequence[object]) -> list[Any]:
        with self._lock:
            return self._db.execute(statement, values).fetchall()
