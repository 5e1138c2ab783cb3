"""What a job costs, of what was measured."""

from chalicelib.domain.cost import Cost, cost
from chalicelib.domain.tally import Measure, Name

MEASURED = {
    Name(Measure.SUCCESS, "payment.process"): 8,
    Name(Measure.REFUSED, "payment.process"): 2,
    Name(Measure.TOOK, "payment.process", "1"): 10,
    Name(Measure.CALLS, "dynamodb"): 25,
    Name(Measure.CALLS, "sqs"): 20,
    Name(Measure.WRITE_UNITS, "dynamodb"): 50,
    Name(Measure.READ_UNITS, "dynamodb"): 10,
}


def test_what_was_measured_is_spread_over_the_jobs_that_ended() -> None:
    assert cost(MEASURED) == Cost(10, {"dynamodb": 2.5, "sqs": 2.0}, 5.0, 1.0, 5 * 0.625 + 0.125 + 2 * 0.4)


def test_nothing_is_said_before_anything_ended_or_was_measured() -> None:
    assert cost({name: n for name, n in MEASURED.items() if name.measure is not Measure.CALLS}) is None
    assert cost({Name(Measure.CALLS, "sqs"): 1}) is None
