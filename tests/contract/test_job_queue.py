"""The contract of ports.JobQueue and ports.Inbox, on the fakes and on SQS as ministack does it."""

import string
from datetime import timedelta

import pytest

from chalicelib.aws.job_queue import group_of
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.message import Hint, decode
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.ports import Message
from tests.contract.backends import SHOWN, Queues
from tests.factories import VENUE

SECOND = timedelta(seconds=1)
LITTLE = timedelta(milliseconds=300)


def a_message(
    number: int = 1, tier: Tier = Tier.MONEY, lane: Lane = Lane.MAIN, delay: timedelta = SECOND * 0
) -> Message:
    return Message(JobId(f"job_{number}"), VENUE, tier, lane, delay)


def test_message_is_a_hint_of_its_job(queues: Queues) -> None:
    assert queues.queue.send([a_message()]) == [True]

    [received] = queues.receive(Tier.MONEY, Lane.MAIN)
    assert decode(received.body) == Hint(JobId("job_1"), VENUE)
    assert received.receives == 1


def test_messages_go_to_the_queue_of_their_tier_and_lane(queues: Queues) -> None:
    places = [(tier, lane) for tier in Tier for lane in Lane]
    messages = [a_message(number, tier, lane) for number, (tier, lane) in enumerate(places)]

    assert queues.queue.send(messages) == [True] * 6
    for number, (tier, lane) in enumerate(places):
        assert [decode(each.body).job_id for each in queues.receive(tier, lane)] == [f"job_{number}"]


def test_more_messages_than_a_call_takes_all_go(queues: Queues) -> None:
    messages = [a_message(number, lane=Lane.EXPRESS if number % 5 == 0 else Lane.MAIN) for number in range(35)]

    assert queues.queue.send(messages) == [True] * 35
    found = set()
    for lane in Lane:
        while received := queues.receive(Tier.MONEY, lane):
            found |= {decode(each.body).job_id for each in received}
    assert found == {f"job_{number}" for number in range(35)}


def test_nothing_to_send_is_nothing_sent(queues: Queues) -> None:
    assert queues.queue.send([]) == []


def test_delayed_message_is_not_there_before_its_time(queues: Queues) -> None:
    queues.queue.send([a_message(delay=SECOND)])

    assert queues.receive(Tier.MONEY, Lane.MAIN) == []
    queues.wait(SECOND + LITTLE)
    assert len(queues.receive(Tier.MONEY, Lane.MAIN)) == 1


def test_received_message_is_hidden_and_comes_back(queues: Queues) -> None:
    queues.queue.send([a_message()])
    queues.receive(Tier.MONEY, Lane.MAIN)

    assert queues.receive(Tier.MONEY, Lane.MAIN) == []
    queues.wait(SHOWN + LITTLE)
    [again] = queues.receive(Tier.MONEY, Lane.MAIN)
    assert again.receives == 2


def test_postponed_message_comes_back_when_asked_for(queues: Queues) -> None:
    queues.queue.send([a_message(1), a_message(2)])
    held = {decode(each.body).job_id: each.handle for each in queues.receive(Tier.MONEY, Lane.MAIN)}

    queues.inbox(Tier.MONEY, Lane.MAIN).postpone(
        {held[JobId("job_1")]: timedelta(0), held[JobId("job_2")]: SHOWN * 2}
    )

    assert [decode(each.body).job_id for each in queues.receive(Tier.MONEY, Lane.MAIN)] == ["job_1"]
    queues.wait(SHOWN + LITTLE)
    assert [decode(each.body).job_id for each in queues.receive(Tier.MONEY, Lane.MAIN)] == ["job_1"]


def test_more_messages_than_a_call_takes_are_all_postponed(queues: Queues) -> None:
    queues.queue.send([a_message(number) for number in range(25)])
    held = []
    while received := queues.receive(Tier.MONEY, Lane.MAIN):
        held += received

    queues.inbox(Tier.MONEY, Lane.MAIN).postpone({each.handle: timedelta(0) for each in held})

    assert len(held) == 25
    assert len(queues.receive(Tier.MONEY, Lane.MAIN)) == 10


def test_unknown_handle_is_passed_over(queues: Queues) -> None:
    queues.queue.send([a_message()])
    [received] = queues.receive(Tier.MONEY, Lane.MAIN)

    queues.inbox(Tier.MONEY, Lane.MAIN).postpone({"nobody's": SHOWN, received.handle: timedelta(0)})

    assert len(queues.receive(Tier.MONEY, Lane.MAIN)) == 1


def test_poison_is_buried_in_the_dead_letters_of_its_tier(queues: Queues) -> None:
    body = '{"v": 99, "text": "☃"}'

    assert queues.queue.bury(Tier.BACKGROUND, body, "It has no schema version known here.") is True
    assert queues.queue.bury(Tier.BACKGROUND, "not json", "") is True

    assert sorted(queues.buried(Tier.BACKGROUND)) == ["not json", body]
    assert queues.buried(Tier.MONEY) == []


@pytest.mark.parametrize("venue", ["v1", "venue with spaces", "größe", "x" * 200, "☃", "\x7f"])
def test_venue_of_any_name_is_sent(queues: Queues, venue: str) -> None:
    message = Message(JobId("job_1"), VenueId(venue), Tier.MONEY, Lane.MAIN)

    assert queues.queue.send([message]) == [True]
    [received] = queues.receive(Tier.MONEY, Lane.MAIN)
    assert decode(received.body).venue_id == venue


def test_group_of_any_venue_is_one_that_sqs_takes() -> None:
    """No emulator refuses a group, so this is what AWS's documentation says."""
    legal = frozenset(string.ascii_letters + string.digits + string.punctuation)
    venues = ["v1", "venue with spaces", "größe", "☃", "\x7f", "", "\ud800", "x" * 128, "x" * 129, "x" * 200]
    groups = [group_of(venue) for venue in venues]

    assert all(0 < len(group) <= 128 and legal.issuperset(group) for group in groups)
    assert len(set(groups)) == len(venues)
    assert (groups[0], groups[7]) == (venues[0], venues[7])
