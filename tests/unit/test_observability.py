import json
import subprocess
import sys
from pathlib import Path

import pytest
import requests
from botocore.exceptions import ClientError, EndpointConnectionError, ParamValidationError
from botocore.parsers import ResponseParserError

from chalicelib.domain.errors import StoreRefused
from chalicelib.observability import describe

ROOT = Path(__file__).parents[2]
CARD = "4242424242424242"


def lines(style: str, code: str, level: str = "INFO") -> list[str]:
    """Return what a journal writes in a process of its own, where nobody else has touched the log."""
    start = "from chalicelib.observability import PowertoolsJournal\n"
    make = f"journal = PowertoolsJournal(level={level!r}, style={style!r})\n"
    done = subprocess.run(
        [sys.executable, "-c", start + make + code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return (done.stdout + done.stderr).splitlines()


def test_an_event_is_one_line_of_json_with_its_action_and_job() -> None:
    (line,) = lines("json", "journal.note('accepted', jobId='job_1', type='payment.process', reason=None)")
    event = json.loads(line)
    assert (event["action"], event["jobId"], event["level"]) == ("accepted", "job_1", "INFO")
    assert event["service"] == "queue-service"
    assert "reason" not in event


def test_an_alarm_tells_where_an_exception_passed_and_not_what_it_said() -> None:
    failing = f"try:\n    int('{CARD}x')\nexcept ValueError:\n    journal.alarm('run_failed', jobId='job_1')"
    for style in ("json", "pretty"):
        (line,) = lines(style, failing)
        assert "ValueError" in line
        assert "<module>" in line
        assert CARD not in line


def test_a_person_reads_one_short_line() -> None:
    (line,) = lines("pretty", "journal.note('accepted', jobId='job_1', name='x')")
    assert line.split(" ", 1)[1] == "accepted jobId=job_1 name_=x"
    (alarm,) = lines("pretty", "journal.alarm('poison', tier='money')")
    assert alarm.split(" ", 1)[1] == "! poison tier=money"


@pytest.mark.parametrize("style", ["json", "pretty"])
def test_the_level_is_kept(style: str) -> None:
    assert lines(style, "journal.note('accepted')", level="ERROR") == []


@pytest.mark.parametrize("style", ["json", "pretty"])
def test_no_name_of_a_fact_breaks_the_log(style: str) -> None:
    assert len(lines(style, "journal.note('x', name='a', module='b', message='c', args='d', level=1)")) == 1


def test_our_own_errors_and_the_systems_say_what_they_are() -> None:
    assert describe(StoreRefused("The table does not answer.")).startswith("StoreRefused: The table does not")
    assert "refused" in describe(ConnectionRefusedError(111, "Connection refused"))
    assert CARD not in describe(KeyError(CARD))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ClientError({"Error": {"Code": "Oops", "Message": CARD}}, "PutItem"), "ClientError: PutItem Oops at "),
        (EndpointConnectionError(endpoint_url="http://a.host"), 'the endpoint URL: "http://a.host" at '),
        (ParamValidationError(report=f"Invalid value: {CARD}"), "ParamValidationError at "),
        (ResponseParserError(f"Unable to parse response: {CARD}"), "ResponseParserError at "),
        (requests.ConnectionError(f"/v1/payment_intents?customer={CARD}"), "ConnectionError at "),
        (OSError(CARD), "OSError at "),
    ],
)
def test_of_what_others_say_a_code_or_a_host_is_told_and_no_value(error: Exception, told: str) -> None:
    assert told in describe(error)
    assert CARD not in describe(error)


def test_an_alarm_names_the_causes_too_and_repeats_nothing_of_them() -> None:
    def fail() -> None:
        try:
            int(f"{CARD}x")
        except ValueError as error:
            raise StoreRefused from error

    with pytest.raises(StoreRefused) as caught:
        fail()
    assert describe(caught.value).endswith(" from ValueError")
    assert CARD not in describe(caught.value)


@pytest.mark.parametrize("style", ["json", "pretty"])
def test_a_traceback_of_the_adapters_is_described_and_not_repeated(style: str) -> None:
    code = (
        "import logging\nlogger = logging.getLogger('chalicelib.aws.leases')\n"
        f"try:\n    int('{CARD}x')\nexcept ValueError:\n    logger.warning('no lease', exc_info=True)"
    )
    [line] = lines(style, code)
    assert "ValueError at " in line
    assert CARD not in line


@pytest.mark.parametrize("style", ["json", "pretty"])
def test_what_the_adapters_log_comes_out_in_the_same_shape(style: str) -> None:
    code = "import logging\nlogging.getLogger('chalicelib.aws.leases').warning('no lease %s', 'dispatch')"
    [line] = lines(style, code)

    if style == "json":
        assert (json.loads(line)["level"], json.loads(line)["message"]) == ("WARNING", "no lease dispatch")
    else:
        assert line.endswith(" no lease dispatch")
