"""What every job type has to hold to, whichever it is."""

from collections.abc import Iterator
from typing import Any

import pytest

from chalicelib.domain.errors import InvalidRequest
from chalicelib.domain.jobtype import Facts, JobType
from chalicelib.domain.policies import EffectClass, Role
from chalicelib.jobtypes import discover, table
from chalicelib.service.intake import Intake, Schema
from chalicelib.service.principal import Principal
from tests.factories import VENUE
from tests.fakes import START

TYPES = discover()
PLATFORM = Principal("service-1", Role.SERVICE, VENUE)


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    """Return every part of a schema that describes an object."""
    if isinstance(schema, list):
        for part in schema:
            yield from objects(part)
    elif hasattr(schema, "items"):
        if schema.get("type") == "object":
            yield schema
        for part in schema.values():
            yield from objects(part)


def test_the_types_of_the_core_are_found() -> None:
    assert {"payment.process", "email.send"} <= TYPES.keys()


@pytest.mark.parametrize("job_type", TYPES.values(), ids=lambda job_type: job_type.name)
class TestEveryType:
    def test_its_schema_compiles_with_formats_that_are_known(self, job_type: JobType) -> None:
        assert Schema(job_type.schema).validator is not None

    def test_its_schema_refuses_unknown_keys_everywhere(self, job_type: JobType) -> None:
        assert job_type.schema["type"] == "object"
        for part in objects(job_type.schema):
            assert "additionalProperties" in part
            assert part["additionalProperties"] is not True

    def test_its_example_is_valid_by_every_name(self, job_type: JobType) -> None:
        for name in (job_type.name, *job_type.aliases):
            body = {"type": name, "data": dict(job_type.example)}
            assert Intake(TYPES).read(body, PLATFORM, None).job_type is job_type

    def test_a_key_that_is_not_in_its_schema_is_refused(self, job_type: JobType) -> None:
        for key in ("__proto__", "constructor", "venueId", "$where"):
            body = {"type": job_type.name, "data": {**job_type.example, key: 1}}
            with pytest.raises(InvalidRequest) as caught:
                Intake(TYPES).read(body, PLATFORM, None)
            assert f"data.{key}" in {problem.field for problem in caught.value.problems}

    def test_its_natural_key_does_not_depend_on_when_it_is_asked(self, job_type: JobType) -> None:
        facts = Facts(VENUE, None, job_type.example, START)
        assert job_type.natural_key(facts) == job_type.natural_key(facts)
        assert job_type.natural_key(facts)

    def test_its_figures_fit_each_other(self, job_type: JobType) -> None:
        assert job_type.key_period <= job_type.retention
        assert 1 <= job_type.most_attempts <= 10
        assert job_type.in_flight > 0
        assert Role.USER not in job_type.submitters
        assert job_type.effect_class in EffectClass


def test_two_types_may_not_share_a_name() -> None:
    first, second = TYPES["payment.process"], TYPES["email.send"]
    assert list(table([first, second])) == ["email.send", "payment.process"]
    with pytest.raises(ValueError, match=r"payment\.process"):
        table([first, first])
