"""What a mint job makes of what the chain holds: the real client and LiteSVM behind the stand-in's face."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chalicelib.domain.claim import Leave
from chalicelib.domain.job import VenueId
from chalicelib.domain.jobtype import Facts, Work
from chalicelib.domain.outcome import Completed, Outcome, Refused, Retry, Unknown
from chalicelib.domain.policies import TIMING
from chalicelib.domain.providers import Begun, Providers
from chalicelib.jobtypes.ticket_mint import JOB_TYPE
from chalicelib.providers.solana_minter import SolanaMinter
from chalicelib.providers.unconfigured import Unconfigured
from local.standins import StandIns
from local.standins.server import CHAIN_AUTHORITY
from tests.factories import a_job


class Box:
    """One mint job, the chain, and what its record was told before each broadcast."""

    def __init__(self, chain: StandIns) -> None:
        self.chain = chain
        self.clock = SimpleNamespace(now=lambda: datetime.now(UTC))
        self.minter = SolanaMinter(
            lambda _: chain.chain_url, CHAIN_AUTHORITY, "s" * 32, cast(Any, self.clock), call_seconds=0.5
        )
        self.job = a_job(type="ticket.mint", payload=dict(JOB_TYPE.example))
        self.begun: list[tuple[str | None, int]] = []  # the handle, and how many mints there were by then

    def run(
        self, leave: Leave = Leave.START, begin: Callable[[str | None], Begun] | None = None, **data: Any
    ) -> Outcome:
        work = Work(
            job=self.job,
            data={**JOB_TYPE.example, **data},
            leave=leave,
            deadline=self.clock.now() + timedelta(minutes=1),
            clock=cast(Any, self.clock),
            timing=TIMING,
            begin=begin or self._begin,
        )
        return JOB_TYPE.run(work, cast(Providers, SimpleNamespace(minter=self.minter)))

    def _begin(self, handle: str | None) -> Begun:
        self.begun.append((handle, self.mints))
        self.job = replace(self.job, handle=handle)
        return Begun(self.job.id, self.job.fence)

    @property
    def mints(self) -> int:
        return len(self.chain.effects())


@pytest.fixture
def box() -> Iterator[Box]:
    with StandIns() as chain:
        box = Box(chain)
        yield box
        box.minter.close()


def test_ticket_is_minted_and_the_result_names_it_and_its_fee(box: Box) -> None:
    outcome = box.run()
    assert isinstance(outcome, Completed)
    assert outcome.result.keys() == {"mintAddress", "tokenAccount", "signature", "slot", "feeLamports"}
    assert outcome.result["feeLamports"] == 10_000


def test_record_names_the_signature_blockhash_and_last_block_before_the_broadcast(box: Box) -> None:
    outcome = box.run()
    assert isinstance(outcome, Completed)
    [(handle, mints)] = box.begun
    signature, blockhash, last, mint = (handle or "").split(":")
    assert mint == outcome.result["mintAddress"]
    assert (signature, mints) == (outcome.result["signature"], 0)
    assert blockhash
    assert int(last) >= 75


def test_nothing_is_broadcast_when_the_record_cannot_say_begun(box: Box) -> None:
    def fails(_: str | None) -> Begun:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        box.run(begin=fails)
    assert box.mints == 0


@pytest.mark.parametrize("leave", [Leave.LOOK_UP, Leave.LOOK_ONLY])
def test_mint_whose_answer_was_lost_is_completed_by_reading(box: Box, leave: Leave) -> None:
    box.chain.arm("solana", "timeout-after-apply")
    assert isinstance(box.run(), Unknown)
    assert isinstance(box.run(leave), Completed)
    assert box.mints == 1


@pytest.mark.parametrize("leave", [Leave.LOOK_UP, Leave.LOOK_ONLY])
def test_absence_clears_doubt_only_past_the_last_block(box: Box, leave: Leave) -> None:
    box.chain.arm("solana", "timeout-before-apply")
    assert isinstance(box.run(), Unknown)
    early = box.run(leave)
    assert isinstance(early, Retry)
    assert not early.clears_doubt
    box.chain.chain.pass_blocks(200)
    late = box.run(leave)
    assert isinstance(late, Retry)
    assert late.clears_doubt
    assert box.mints == 0
    assert isinstance(box.run(), Completed)


def test_look_up_without_a_name_for_the_transaction_never_clears_doubt(box: Box) -> None:
    box.chain.chain.pass_blocks(10_000)
    outcome = box.run(Leave.LOOK_UP)
    assert isinstance(outcome, Retry)
    assert not outcome.clears_doubt


def test_absence_at_another_address_than_that_of_the_broadcast_proves_nothing(box: Box) -> None:
    box.chain.arm("solana", "timeout-after-apply")
    assert isinstance(box.run(), Unknown)
    box.chain.chain.pass_blocks(200)
    box.minter.close()
    box.minter = SolanaMinter(
        lambda _: box.chain.chain_url, CHAIN_AUTHORITY, "another secret than before, of 32 bytes", box.clock
    )
    outcome = box.run(Leave.LOOK_UP)
    assert isinstance(outcome, Unknown)
    assert (outcome.failure.code, box.mints) == ("address_changed", 1)


def test_second_job_for_the_same_ticket_finds_it_and_mints_nothing(box: Box) -> None:
    box.run()
    box.job = a_job(type="ticket.mint", payload=dict(JOB_TYPE.example))
    assert isinstance(box.run(), Completed)
    assert box.mints == 1


def test_seat_that_was_minted_for_another_ticket_is_refused(box: Box) -> None:
    box.run()
    outcome = box.run(ticketId="another")
    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, box.mints) == ("already_minted", 1)


def test_in_doubt_a_mint_of_another_ticket_is_no_answer(box: Box) -> None:
    box.run()
    assert isinstance(box.run(Leave.LOOK_UP, ticketId="another"), Unknown)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("refuse-connection", Retry),
        ("status-429", Retry),
        ("status-500", Unknown),
        ("status-503", Unknown),
        ("decline", Refused),
        ("slow", Unknown),
    ],
)
def test_every_fault_has_its_outcome(box: Box, mode: str, kind: type[Outcome]) -> None:
    if mode == "refuse-connection":  # the first calls only read: strike the broadcast itself
        begin = box._begin

        def strike(handle: str | None) -> Begun:
            box.chain.arm("solana", mode)
            return begin(handle)

        assert isinstance(box.run(begin=strike), kind)
        return
    box.chain.arm("solana", mode)
    assert isinstance(box.run(), kind)


def test_without_settings_nothing_is_minted_and_the_job_says_so(box: Box) -> None:
    from chalicelib.domain.errors import NotSent

    minter, box.minter = box.minter, cast(Any, Unconfigured("Solana"))
    with pytest.raises(NotSent) as raised:
        box.run()
    assert raised.value.reason == "provider_not_configured"
    box.minter = minter


def test_natural_key_is_the_seat_or_else_the_ticket() -> None:
    def key(**data: str) -> tuple[object, ...]:
        now = datetime.now(UTC)
        return JOB_TYPE.natural_key(Facts(VenueId("v1"), None, {"eventId": "e", "ticketId": "t", **data}, now))

    assert key(seatId="s") == key(seatId="s", ticketId="other")
    assert len({key(), key(seatId="t"), key(seatId="s"), key(ticketId="u"), key(eventId="f")}) == 5
