"""Use a client that was generated from the description: submit, submit again, read, be refused.

Run by the Python of .venv-openapi with one argument, JSON: {url, token, folder}. Prints JSON: what came of it.
"""

import json
import sys
from typing import Any


def main(order: dict[str, Any]) -> None:
    """Go the way of a caller, typed throughout."""
    sys.path.insert(0, order["folder"])
    from generated.api.jobs import read_job, submit_job
    from generated.api.operations import read_ready
    from generated.client import AuthenticatedClient, Client
    from generated.models import PaymentProcessData, Receipt, SubmitPaymentProcess, SubmitPaymentProcessType

    body = SubmitPaymentProcess(
        type_=SubmitPaymentProcessType.PAYMENT_PROCESS,
        data=PaymentProcessData(
            amount=4500,
            currency="EUR",
            customer_id="cus_1",
            event_id="event-1",
            payment_method="pm_card_visa",
        ),
    )
    with AuthenticatedClient(order["url"], order["token"]) as client:
        first = submit_job.sync(client=client, body=body, idempotency_key="order-1")
        again = submit_job.sync(client=client, body=body, idempotency_key="order-1")
        assert isinstance(first, Receipt)
        assert isinstance(again, Receipt)
        job = read_job.sync(first.job_id, client=client)
        unknown = read_job.sync("job_unknown", client=client)
    with Client(order["url"]) as stranger:
        refused = submit_job.sync_detailed(client=stranger, body=body)
        ready = read_ready.sync(client=stranger)
    said = {
        "first": first.deduplicated,
        "again": again.deduplicated,
        "job": job.to_dict(),
        "unknown": unknown.to_dict(),
        "refused": refused.status_code,
        "ready": ready.to_dict(),
    }
    sys.stdout.write(json.dumps(said))


main(json.loads(sys.argv[1]))
