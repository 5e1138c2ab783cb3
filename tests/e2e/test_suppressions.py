"""On the local stack: mail to SES's simulator bounces, SNS's bulletin comes in, the next mail is refused."""

import time
from typing import Any

import pytest

from tests.e2e.stacks import PATIENCE, RunningStack, await_state


def mail(to: str, order: str) -> dict[str, Any]:
    data = {"to": f"{to}@simulator.amazonses.com", "template": "refund_notice", "data": {"orderId": order}}
    return {"type": "email.send", "data": data}


@pytest.mark.parametrize("cause", ["bounce", "complaint"])
def test_address_that_bounces_or_complains_gets_no_more_mail_until_it_is_lifted(
    stack: RunningStack, cause: str
) -> None:
    client = stack.client()
    job_id = client.post("/v1/jobs", mail(cause, "1")).body["jobId"]
    await_state(client, job_id, "completed")
    end = time.monotonic() + PATIENCE
    asked = f"/v1/suppressions?address={cause}@simulator.amazonses.com"
    while not (found := client.get(asked).body["suppressions"]):
        assert time.monotonic() < end, "nothing was suppressed"
        time.sleep(0.05)
    assert (found[0]["cause"], found[0]["jobId"]) == (cause, job_id)
    refused = client.post("/v1/jobs", mail(cause, "2"))
    assert (refused.status, refused.body["details"][0]["field"]) == (400, "data.to")
    assert client.post("/v1/jobs", mail(f"{cause}+other", "2")).status == 201
    lifted = client.delete(f"/v1/suppressions/{found[0]['id']}", {"reason": "A test"})
    assert lifted.status == 200
    assert client.post("/v1/jobs", mail(cause, "3")).status == 201
    client.close()


def test_delivery_and_out_of_office_suppress_nobody(stack: RunningStack) -> None:
    client = stack.client()
    for to in ("success", "ooto"):
        await_state(client, client.post("/v1/jobs", mail(to, "1")).body["jobId"], "completed")
    # What was published before has come in by the time that this bounce has.
    bounced = client.post("/v1/jobs", mail("bounce+last", "1")).body["jobId"]
    await_state(client, bounced, "completed")
    end = time.monotonic() + PATIENCE
    while not any(each["jobId"] == bounced for each in client.get("/v1/suppressions").body["suppressions"]):
        assert time.monotonic() < end, "nothing was suppressed"
        time.sleep(0.05)
    assert client.post("/v1/jobs", mail("success", "2")).status == 201
    assert client.post("/v1/jobs", mail("ooto", "2")).status == 201
    client.close()
