"""The minter on LiteSVM, which runs Solana's own programs, behind the stand-in's JSON-RPC face."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from solders.keypair import Keypair

from chalicelib.domain.errors import Ambiguous, Declined, NotSent, ProviderError, TurnedAway
from chalicelib.domain.job import JobId
from chalicelib.domain.minting import SignedMint, Standing, Ticket
from chalicelib.domain.providers import Begun
from chalicelib.providers.solana_mint import mint_keypair
from chalicelib.providers.solana_minter import SolanaMinter
from local.standins import StandIns
from local.standins.listener import Listener
from local.standins.server import CHAIN_AUTHORITY
from local.standins.wire import Answer, Request

SECRET = "a-secret-of-the-tests-of-32-bytes-or-more"
WALLET = str(Keypair.from_seed(bytes(32)).pubkey())
TICKET = Ticket(
    JobId("job-1"), "v1", "ev-1", "t-1", "A-12", WALLET, "Lights A-12", "https://t.example/1", {"gate": "N"}
)
BEGUN = Begun(JobId("job-1"), 1)


class Now:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def soon(seconds: float = 60) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


@pytest.fixture
def chain() -> Iterator[StandIns]:
    with StandIns() as stand_ins:
        yield stand_ins


def minter_of(chain: StandIns, **options: Any) -> SolanaMinter:
    return minter_by(chain, CHAIN_AUTHORITY, **options)


def minter_by(chain: StandIns, key: str, **options: Any) -> SolanaMinter:
    return SolanaMinter(lambda _: chain.chain_url, key, SECRET, Now(), **{"call_seconds": 0.5, **options})


@pytest.fixture
def minter(chain: StandIns) -> Iterator[SolanaMinter]:
    made = minter_of(chain)
    yield made
    made.close()


def mint(minter: SolanaMinter, ticket: Ticket = TICKET) -> SignedMint:
    signed = minter.prepare(ticket, deadline=soon())
    minter.submit(signed, begun=Begun(ticket.job_id, 1), deadline=soon())
    return signed


def standing(minter: SolanaMinter, ticket: Ticket = TICKET, sent: str | None = None) -> Standing:
    return minter.read(ticket, sent=sent, deadline=soon()).standing


def test_mint_meets_every_condition_and_tells_its_fee(minter: SolanaMinter) -> None:
    assert standing(minter) is Standing.ABSENT
    signed = mint(minter)
    seen = minter.read(TICKET, sent=signed.signature, deadline=soon())
    assert (seen.standing, seen.signature, seen.fee_lamports) == (Standing.MINTED, signed.signature, 10_000)
    assert len(signed.transaction) <= 1232


def test_address_needs_the_secret_and_names_venue_event_and_place() -> None:
    others = [
        replace(TICKET, venue_id="v2"),
        replace(TICKET, event_id="ev-2"),
        replace(TICKET, seat_id="A-13"),
        replace(TICKET, seat_id=None, ticket_id="A-12"),
    ]
    addresses = {mint_keypair(SECRET, each).pubkey() for each in [TICKET, *others]}
    assert len(addresses | {mint_keypair(SECRET + "x", TICKET).pubkey()}) == 6
    assert (
        mint_keypair(SECRET, replace(TICKET, ticket_id="t-2")).pubkey() == mint_keypair(SECRET, TICKET).pubkey()
    )


def test_lamports_at_the_address_neither_prove_nor_prevent_anything(
    chain: StandIns, minter: SolanaMinter
) -> None:
    chain.chain.fund(str(mint_keypair(SECRET, TICKET).pubkey()), 5_000_000)
    assert standing(minter) is Standing.ABSENT
    mint(minter)
    assert standing(minter) is Standing.MINTED


def test_second_mint_of_a_ticket_is_refused_by_the_chain_itself(chain: StandIns, minter: SolanaMinter) -> None:
    mint(minter)
    with pytest.raises(TurnedAway) as refused:
        mint(minter, replace(TICKET, name="another name"))
    assert refused.value.reason == "address_taken"  # and what stands there is read at the next attempt
    assert len(chain.effects()) == 1


@pytest.mark.parametrize(
    "change", [{"name": "Other"}, {"uri": "https://x"}, {"ticket_id": "t-2"}, {"attributes": {}}]
)
def test_mint_in_other_words_is_anothers(minter: SolanaMinter, change: dict[str, Any]) -> None:
    mint(minter)
    assert standing(minter, replace(TICKET, **change)) is Standing.ANOTHERS


def test_mint_for_another_wallet_is_anothers(minter: SolanaMinter) -> None:
    mint(minter)
    other = str(Keypair.from_seed(bytes([1] * 32)).pubkey())
    assert standing(minter, replace(TICKET, wallet=other)) is Standing.ANOTHERS


@pytest.mark.parametrize("left_out", ["authority is left", "supply is none"])
def test_mint_that_is_not_whole_never_counts(
    minter: SolanaMinter, monkeypatch: pytest.MonkeyPatch, left_out: str
) -> None:
    from chalicelib.providers import solana_mint

    whole = solana_mint.instructions

    def part(*given: Any) -> Any:
        steps = whole(*given)
        return steps[:-1] if left_out == "authority is left" else [*steps[:-2], steps[-1]]

    monkeypatch.setattr(solana_mint, "instructions", part)
    signed = mint(minter)
    assert standing(minter, sent=signed.signature) is Standing.UNSOUND


def test_broadcast_whose_answer_is_lost_is_found_by_reading(chain: StandIns, minter: SolanaMinter) -> None:
    signed = minter.prepare(TICKET, deadline=soon())
    chain.arm("solana", "timeout-after-apply")
    with pytest.raises(Ambiguous):
        minter.submit(signed, begun=BEGUN, deadline=soon())
    assert standing(minter, sent=signed.signature) is Standing.MINTED


def test_broadcast_that_never_arrived_is_absent_and_in_time_too_late(
    chain: StandIns, minter: SolanaMinter
) -> None:
    signed = minter.prepare(TICKET, deadline=soon())
    chain.arm("solana", "timeout-before-apply")
    with pytest.raises(Ambiguous):
        minter.submit(signed, begun=BEGUN, deadline=soon())
    seen = minter.read(TICKET, sent=signed.signature, deadline=soon())
    assert (seen.standing, seen.height <= signed.last_valid_height) == (Standing.ABSENT, True)
    chain.chain.pass_blocks(200)
    assert minter.read(TICKET, sent=signed.signature, deadline=soon()).height > signed.last_valid_height
    with pytest.raises(TurnedAway) as late:
        minter.submit(signed, begun=BEGUN, deadline=soon())
    assert late.value.reason == "blockhash_not_found"
    assert chain.effects() == []


def test_same_transaction_again_is_not_a_second_ticket(chain: StandIns, minter: SolanaMinter) -> None:
    signed = mint(minter)
    with pytest.raises(Ambiguous):
        minter.submit(signed, begun=BEGUN, deadline=soon())
    assert len(chain.effects()) == 1


@pytest.mark.parametrize(
    ("mode", "error", "reason"),
    [
        ("status-429", TurnedAway, "provider_rate_limited"),
        ("status-500", Ambiguous, "provider_failed"),
        ("status-503", Ambiguous, "provider_failed"),
        ("decline", Declined, "mint_rejected"),
        ("refuse-connection", NotSent, "connection_failed"),
    ],
)
def test_every_answer_has_its_error(
    chain: StandIns, minter: SolanaMinter, mode: str, error: type[Exception], reason: str
) -> None:
    signed = minter.prepare(TICKET, deadline=soon())
    chain.arm("solana", mode)
    with pytest.raises(error) as raised:
        minter.submit(signed, begun=BEGUN, deadline=soon())
    assert raised.value.reason == reason  # type: ignore[attr-defined]  # every ProviderError has one
    assert chain.effects() == []


def test_authority_without_funds_is_no_fault_of_the_ticket(chain: StandIns) -> None:
    poor = minter_by(chain, str(Keypair()))
    with pytest.raises(TurnedAway) as raised:
        mint(poor)
    poor.close()
    assert raised.value.reason == "authority_out_of_funds"


def test_authority_with_too_little_for_the_rent_is_no_fault_of_the_ticket(chain: StandIns) -> None:
    key = Keypair()
    chain.chain.fund(str(key.pubkey()), 1_500_000)
    poor = minter_by(chain, str(key))
    with pytest.raises(TurnedAway) as raised:
        mint(poor)
    poor.close()
    assert raised.value.reason == "authority_out_of_funds"


def test_call_that_cannot_end_in_time_is_not_started(chain: StandIns, minter: SolanaMinter) -> None:
    signed = minter.prepare(TICKET, deadline=soon())
    with pytest.raises(NotSent):
        minter.submit(signed, begun=BEGUN, deadline=soon(1))
    assert chain.effects() == []


def test_words_that_do_not_fit_are_refused_before_anything_is_sent(minter: SolanaMinter) -> None:
    with pytest.raises(Declined) as raised:
        minter.prepare(
            replace(TICKET, name="é" * 64, attributes={f"a{n}": "é" * 200 for n in range(4)}), deadline=soon()
        )
    assert raised.value.reason == "metadata_too_large"


def test_wallet_that_is_no_address_is_refused(minter: SolanaMinter) -> None:
    with pytest.raises(Declined):
        minter.read(replace(TICKET, wallet="1" * 40), sent=None, deadline=soon())


def test_begun_of_another_job_broadcasts_nothing(chain: StandIns, minter: SolanaMinter) -> None:
    signed = minter.prepare(TICKET, deadline=soon())
    with pytest.raises(ValueError, match="another job"):
        minter.submit(signed, begun=Begun(JobId("job-2"), 1), deadline=soon())
    assert chain.effects() == []


@pytest.mark.parametrize("key", ["not-a-key", "[1, 2]", "[" + "256, " * 63 + "256]", "1" * 88, "é"])
def test_key_that_is_none_is_named_without_being_quoted(chain: StandIns, key: str) -> None:
    with pytest.raises(NotSent, match="no Solana key") as raised:
        minter_by(chain, key)
    assert key not in str(raised.value)


def test_secret_that_is_short_makes_no_addresses(chain: StandIns) -> None:
    with pytest.raises(NotSent) as raised:
        SolanaMinter(lambda _: chain.chain_url, CHAIN_AUTHORITY, "s" * 31, Now())
    assert raised.value.reason == "mint_secret_short"


class Node:
    """The chain's face, but for one method, which is answered as told."""

    def __init__(self, chain: StandIns, method: str, answer: Answer) -> None:
        self._chain, self._method, self._answer = chain, method, answer
        self.listener = Listener("127.0.0.1", 0, self._handle)
        self.minter = SolanaMinter(
            self._url, CHAIN_AUTHORITY, SECRET, Now(), call_seconds=2, sleep=lambda _: None
        )
        self.read_anew = 0

    def __enter__(self) -> "Node":
        self.listener.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.minter.close()
        self.listener.stop()

    def _url(self, anew: bool) -> str:
        self.read_anew += anew
        return f"http://127.0.0.1:{self.listener.port}/solana"

    def _handle(self, request: Request) -> Answer:
        told = json.loads(request.body)["method"] == self._method
        return self._answer if told else self._chain.chain.answer(request)


def says(code: int, err: Any = None, status: int = 200) -> Answer:
    return Answer(status, {"error": {"code": code, "message": "it quotes us", "data": {"err": err}}})


def fails(place: int, why: Any) -> Answer:
    return says(-32002, {"InstructionError": [place, why]})


GARBAGE = [Answer(200, b"<html>"), Answer(200, b"[1]"), Answer(200, b'{"error": "no"}'), says("x")]  # type: ignore[arg-type]  # garbage
SENDS: list[tuple[Answer, type[Exception], str]] = [
    (Answer(401, b""), TurnedAway, "provider_not_authenticated"),
    (Answer(403, b""), TurnedAway, "provider_not_permitted"),
    (Answer(429, b"", {"Retry-After": "3"}), TurnedAway, "provider_rate_limited"),
    (says(429, status=429), TurnedAway, "provider_rate_limited"),
    (Answer(302, b"", {"Location": "http://127.0.0.1:9/"}), TurnedAway, "provider_moved"),
    (Answer(500, b""), Ambiguous, "provider_failed"),
    (Answer(503, b""), Ambiguous, "provider_failed"),
    (Answer(413, b""), Ambiguous, "provider_failed"),
    *((answer, Ambiguous, "provider_failed") for answer in GARBAGE),
    (says(-32005), TurnedAway, "node_behind"),
    (says(-32016), TurnedAway, "node_behind"),
    (says(-32603), Ambiguous, "provider_failed"),
    (says(-32002), Declined, "mint_rejected"),
    (says(-32002, "BlockhashNotFound"), TurnedAway, "blockhash_not_found"),
    (says(-32002, "AlreadyProcessed"), Ambiguous, "already_processed"),
    (says(-32002, "AccountNotFound"), TurnedAway, "authority_out_of_funds"),
    (says(-32002, {"InsufficientFundsForRent": {"account_index": 1}}), TurnedAway, "authority_out_of_funds"),
    (fails(0, {"Custom": 1}), TurnedAway, "authority_out_of_funds"),
    (fails(9, {"Custom": 1}), TurnedAway, "authority_out_of_funds"),
    (fails(1, {"Custom": 0}), TurnedAway, "address_taken"),
    (fails(6, "InvalidAccountData"), Declined, "mint_rejected"),
    (says(-32002, {"InstructionError": 7}), Declined, "mint_rejected"),
]


@pytest.mark.parametrize(("answer", "error", "reason"), SENDS)
def test_answer_to_a_broadcast_is_one_error(
    chain: StandIns, answer: Answer, error: type[ProviderError], reason: str
) -> None:
    with Node(chain, "sendTransaction", answer) as node:
        signed = node.minter.prepare(TICKET, deadline=soon())
        with pytest.raises(error) as raised:
            node.minter.submit(signed, begun=BEGUN, deadline=soon())
        assert (type(raised.value), raised.value.reason) == (error, reason)
        assert "quotes" not in str(raised.value)
        assert node.read_anew == (answer.status in (401, 403))
    if answer.status == 429 and answer.headers:
        assert isinstance(raised.value, TurnedAway)
        assert raised.value.after == timedelta(seconds=3)


@pytest.mark.parametrize("method", ["getEpochInfo", "getMultipleAccounts", "getTransaction"])
@pytest.mark.parametrize(
    "answer",
    [
        *GARBAGE,
        Answer(500, b""),
        says(-32016),
        Answer(200, {"result": 7}),
        Answer(200, {"result": {"value": [1]}}),
    ],
)
def test_answer_to_a_read_that_says_nothing_is_no_finding(
    chain: StandIns, minter: SolanaMinter, method: str, answer: Answer
) -> None:
    signed = mint(minter)
    with Node(chain, method, answer) as node, pytest.raises(TurnedAway):
        node.minter.read(TICKET, sent=signed.signature, deadline=soon())


@pytest.mark.parametrize("answer", [*GARBAGE, Answer(503, b""), Answer(200, {"result": {"value": []}})])
def test_mint_that_is_out_is_waited_for_whatever_the_node_says_meanwhile(
    chain: StandIns, answer: Answer
) -> None:
    with Node(chain, "getSignatureStatuses", answer) as node:
        signed = node.minter.prepare(TICKET, deadline=soon())
        node.minter.submit(signed, begun=BEGUN, deadline=soon(8))  # it has two seconds
        assert node.minter.read(TICKET, sent=signed.signature, deadline=soon()).standing is Standing.MINTED


def test_chain_that_is_begun_anew_over_its_books_has_its_mints_and_mints_none_twice(tmp_path: Path) -> None:
    kept = tmp_path / "books.sqlite"
    with StandIns(state=kept) as chain:
        made = minter_of(chain)
        signed, late = mint(made), made.prepare(replace(TICKET, seat_id="B-1"), deadline=soon())
        height = made.read(TICKET, sent=None, deadline=soon()).height
        made.close()
    with StandIns(state=kept) as chain:
        made = minter_of(chain)
        seen = made.read(TICKET, sent=signed.signature, deadline=soon())
        assert (seen.standing, seen.fee_lamports) == (Standing.MINTED, 10_000)
        assert seen.height >= height
        with pytest.raises(TurnedAway, match="address"):
            mint(made)
        with pytest.raises(TurnedAway, match="blockhash"):  # as after a real fork: it never lands
            made.submit(late, begun=BEGUN, deadline=soon())
        assert len(chain.effects()) == 1
        made.close()
