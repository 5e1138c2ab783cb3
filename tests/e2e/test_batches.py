"""A batch from HTTP to charges, on the local stack."""

from collections import Counter
from typing import Any

import pytest

from tests.e2e.stacks import RunningStack, await_state
from tests.e2e.test_front_door import PAYMENT

SIZE = 12  # more than goes in one call to the queue


@pytest.mark.parametrize("together", [False, True], ids=["each by itself", "all or nothing"])
def test_every_job_of_a_batch_is_charged_once(stack: RunningStack, together: bool) -> None:
    jobs: list[dict[str, Any]] = [
        {**PAYMENT, "data": {**PAYMENT["data"], "orderId": f"{together}-{number}"}} for number in range(SIZE)
    ]
    body = {"queue": "money", "jobs": jobs, "options": {"stopOnError": together}}
    client = stack.client()
    first, again = client.post("/v1/jobs/batch", body), client.post("/v1/jobs/batch", body)
    assert (first.status, again.status) == (201, 201), first
    ids = [each["jobId"] for each in first.body["jobs"]]
    assert [each["jobId"] for each in again.body["jobs"]] == ids
    assert len(set(ids)) == SIZE
    for place, job_id in enumerate(ids):
        job = await_state(client, job_id, "completed")
        assert (job["batchId"], job["batchIndex"]) == (first.body["batchId"], place)
    client.close()
    charged = Counter(effect["jobId"] for effect in stack.ledger() if effect["operation"] == "charge")
    assert {job_id: charged[job_id] for job_id in ids} == dict.fromkeys(ids, 1)
