import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.domain.errors import Poison
from chalicelib.domain.job import JobId, VenueId
from chalicelib.domain.message import Hint, decode, encode
from tests.factories import is_sentence


def test_a_message_holds_ids_and_a_version_and_nothing_else() -> None:
    assert encode(Hint(JobId("job_1"), VenueId("venue-1"))) == '{"v":1,"jobId":"job_1","venueId":"venue-1"}'


@given(job_id=st.text(min_size=1), venue_id=st.text(min_size=1))
def test_what_was_encoded_is_decoded(job_id: str, venue_id: str) -> None:
    hint = Hint(JobId(job_id), VenueId(venue_id))
    assert decode(encode(hint)) == hint


def test_a_field_that_a_later_version_adds_does_no_harm() -> None:
    body = json.dumps({"v": 1, "jobId": "job_1", "venueId": "venue-1", "more": [1]})
    assert decode(body) == Hint(JobId("job_1"), VenueId("venue-1"))


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param("", "not JSON", id="empty"),
        pytest.param("hello", "not JSON", id="text"),
        pytest.param('{"v":1,', "not JSON", id="cut off"),
        pytest.param("[" * 100_000, "not JSON", id="very deep"),
        pytest.param("[]", "no schema version", id="a list"),
        pytest.param("null", "no schema version", id="null"),
        pytest.param('"v"', "no schema version", id="a string that holds v"),
        pytest.param('{"jobId":"job_1","venueId":"v"}', "no schema version", id="no version"),
        pytest.param('{"v":2,"jobId":"job_1","venueId":"v"}', "no schema version", id="a version to come"),
        pytest.param('{"v":1,"venueId":"v"}', "names no job", id="no job"),
        pytest.param('{"v":1,"jobId":"","venueId":"v"}', "names no job", id="empty job"),
        pytest.param('{"v":1,"jobId":7,"venueId":"v"}', "names no job", id="job is a number"),
        pytest.param('{"v":1,"jobId":"job_1"}', "names no job", id="no venue"),
        pytest.param('{"v":1,"jobId":"job_1","venueId":""}', "names no job", id="empty venue"),
        pytest.param('{"v":1,"jobId":"job_1","venueId":["v"]}', "names no job", id="venue is a list"),
    ],
)
def test_a_body_of_which_no_job_can_be_made_is_poison(body: str, why: str) -> None:
    with pytest.raises(Poison, match=why) as caught:
        decode(body)
    assert is_sentence(caught.value.message)


@given(st.text())
def test_no_text_breaks_the_reader(body: str) -> None:
    try:
        decode(body)
    except Poison:
        return
    assert json.loads(body)["v"] == 1
