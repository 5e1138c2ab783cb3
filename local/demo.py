"""An on-sale on a stack of its own, checked to the last charge: `make demo N=200`.

Each of N buyers pays; who has paid gets a ticket on the chain and a mail, some a text, some a part of their
money back; a shop is told by webhooks, and the venue is paid out. Some requests come twice, some of those at
the same time; some cards are declined; and while it runs the stand-ins fail in every way that needs no person
to mend it. At the end the ledger of what the providers really did must agree with the records, job by job.
The protocol's times are shortened (TIMING): what takes minutes in production takes seconds here.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from local.identity import signing_secret, token
from local.on_sale import Request, afterwards, another_try, payout, purchase
from local.options import ROOT, local_directory
from local.progress import Progress
from local.reckoning import Reckoning, Record, reckon
from local.rest import Answer, Client

TIMING = {"absence_after": 4, "poll_every": 1, "clock_skew": 1}  # seconds
# By wave, ordered as it begins. Not among them: a 500 that Stripe keeps under the key (status-500); it is
# replayed until a person retries; and a mail whose answer is lost: a person must say whether it went.
FAULTS = (
    (
        ("stripe", "status-503", 3),
        ("stripe", "status-429", 5),
        ("stripe", "timeout-before-apply", 2),
        ("stripe", "timeout-after-apply", 3),
        ("stripe", "refuse-connection", 3),  # the last: whoever orders is refused as well until it is over
    ),
    (("stripe", "timeout-after-apply", 1),),
    (
        ("ses", "status-429", 4),
        ("twilio", "status-429", 2),
        ("orders", "status-503", 4),
        ("orders", "timeout-after-apply", 3),
        ("hooks", "status-503", 4),
        ("hooks", "timeout-after-apply", 2),
        ("solana", "status-429", 2),
        ("solana", "timeout-after-apply", 2),
        ("stripe", "timeout-after-apply", 2),
    ),
    (("stripe", "timeout-after-apply", 1),),
)
START_PATIENCE = 60.0  # seconds until the stack must be up
PATIENCE = 120.0  # seconds without any job coming to rest
ASKING = 16  # requests under way at a time
AT_REST = frozenset({"completed", "failed", "cancelled", "parked"})


class DemoFailed(Exception):
    """The demo could not be carried out; the message says why."""


@dataclass(frozen=True)
class Asked:
    """What the service answered to a request each time."""

    request: Request
    answers: Sequence[Answer]

    @property
    def job_ids(self) -> set[str]:
        """The jobs that stand for it: one, or something is wrong."""
        return {answer.body["jobId"] for answer in self.answers}


def main() -> int:
    """Run the on-sale and return 0 only if ledger and records agree."""
    buyers = os.environ.get("N") or "200"
    if not (buyers.isascii() and buyers.isdigit() and 1 <= int(buyers) <= 100_000):
        print(f"N={buyers} is no number of buyers: give 1 to 100000.", file=sys.stderr)
        return 2
    try:
        return _demo(int(buyers))
    except DemoFailed as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _demo(buyers: int) -> int:
    print(
        f"An on-sale of {buyers} buyers. Starting a stack ...",
        flush=True,
    )
    with _stack() as (endpoints, bearer):
        api, stand_ins = Client(endpoints["api"], bearer), Client(endpoints["providers"]["stripe"])
        try:
            began = time.monotonic()
            sale = f"sale-{time.time_ns()}"  # on an AWS that is shared, another sale has other keys
            service = Service(api, stand_ins, buyers)
            endpoint = _endpoint(api, stand_ins, endpoints["providers"]["hooks"])
            service.wave("purchases", [purchase(buyer, sale, endpoint) for buyer in range(buyers)])
            again = service.each(another_try, "failed")
            service.wave("another card for who was declined", again)
            service.wave(
                "what follows for who has paid",
                service.each(partial(afterwards, sale=sale, endpoint=endpoint), "completed"),
            )
            service.wave("the venue is paid out", [payout(sale, service.records)])
            seconds = time.monotonic() - began
            reckoning = reckon(service.records, stand_ins.get("/_ledger").body["effects"])
            struck = service.ordered - Counter(_armed(stand_ins))
        finally:
            api.close()
            stand_ins.close()
    return _conclude(service.asked, reckoning, struck, seconds)


class Service:
    """The service as a sale uses it: each wave is asked for, faults and all, and comes to rest."""

    def __init__(self, api: Client, stand_ins: Client, buyers: int) -> None:
        self._api = api
        self._stand_ins = stand_ins
        self._buyers = buyers
        self._waves = 0
        self.asked: list[Asked] = []
        self.rested: list[tuple[Request, Record]] = []
        self.ordered: Counter[tuple[str, str]] = Counter()

    def each(self, what: Callable[[int, Record], Sequence[Request]], state: str) -> list[Request]:
        """Return what follows for each buyer whose payment has come to this."""
        return [
            request
            for asked, record in self.rested
            if record.state == state and asked.buyer is not None
            for request in what(asked.buyer, record)
        ]

    @property
    def records(self) -> list[Record]:
        """All jobs of the sale, as they came to rest."""
        return [record for _, record in self.rested]

    def wave(self, name: str, requests: Sequence[Request]) -> None:
        """Order the faults of the wave, ask for everything, and wait until it is at rest."""
        print(f"\n{name}:", flush=True)
        faults = FAULTS[self._waves] if self._waves < len(FAULTS) else ()
        self._waves += 1
        self.ordered += _order_faults(self._stand_ins, faults, self._buyers)
        asked = _submit(requests, self._api)
        self.asked += asked
        self.rested += _await_rest(asked, self._api)


@contextmanager
def _stack() -> Iterator[tuple[Mapping[str, Any], str]]:
    """Start a fresh stack on free ports; give its endpoints and an admin's token."""
    home = local_directory() / "demo"
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="run-", dir=home) as fresh, (home / "stack.log").open("w") as log:
        directory = Path(fresh)
        own = {"LOCAL_DIR": fresh, "PORT": "0", "PERSIST": "0", "QUEUE_TIMING": json.dumps(TIMING)}
        own |= {"RATE_LIMIT_TWILIO": "20"}  # a real number sends one a second
        process = subprocess.Popen(
            [sys.executable, "-m", "local.run", "--with-parent"],
            cwd=ROOT,
            env=os.environ | own,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield _endpoints(process, directory, Path(log.name)), token(signing_secret(directory))
        finally:
            process.terminate()
            process.wait()


def _endpoints(process: subprocess.Popen[bytes], directory: Path, log: Path) -> Mapping[str, Any]:
    path = directory / "endpoints.json"
    end = time.monotonic() + START_PATIENCE
    while time.monotonic() < end and process.poll() is None:
        if path.exists():
            endpoints: Mapping[str, Any] = json.loads(path.read_text())
            return endpoints
        time.sleep(0.05)
    raise DemoFailed(f"the stack did not come up. The last lines of {log}:\n{log.read_text()[-2000:]}")


def _endpoint(api: Client, stand_ins: Client, url: str) -> str:
    """Register the receiver that stands in for a shop's, and let it know the secret; return its id."""
    made = api.post("/v1/endpoints", {"url": url, "description": "the shop"})
    if made.status != 201:
        raise DemoFailed(f"no endpoint was made: {made.body}")
    stand_ins.post("/_hooks", {"secret": made.body["secret"]})
    return str(made.body["id"])


def _order_faults(
    stand_ins: Client, faults: Sequence[tuple[str, str, int]], buyers: int
) -> Counter[tuple[str, str]]:
    """Arm faults, fewer for a small sale, and return how often each is to strike."""
    ordered: Counter[tuple[str, str]] = Counter()
    for provider, mode, most in faults:
        count = max(1, min(most, most * buyers // 200))
        answer = stand_ins.post("/_faults", {"provider": provider, "mode": mode, "count": count})
        if answer.status >= 300:
            raise DemoFailed(f"the stand-in took no fault order: {answer.body}")
        ordered[provider, mode] += count
    return ordered


def _submit(requests: Sequence[Request], api: Client) -> list[Asked]:
    """Ask for everything, several at a time; of the repeated ones some at the very same moment."""
    progress = Progress()
    with ThreadPoolExecutor(ASKING) as buyers, ThreadPoolExecutor(ASKING) as twins:

        def ask(request: Request) -> Asked:
            answers: list[Answer] = []
            for _ in range(request.in_turn):
                answers += twins.map(lambda body: _accepted(api, body), [request.body] * request.at_once)
            return Asked(request, answers)

        asked: list[Asked] = []
        for each in buyers.map(ask, requests):
            asked.append(each)
            progress.show(f"accepting: {len(asked)} of {len(requests)}")
    progress.end()
    return asked


def _accepted(api: Client, body: Mapping[str, Any]) -> Answer:
    """Submit as a caller should: a 503 says to repeat with the same key."""
    for _ in range(10):
        answer = api.post("/v1/jobs", body)
        if answer.status in (200, 201):
            return answer
        if answer.status != 503:
            break
        time.sleep(0.5)
    raise DemoFailed(f"a submission was answered with {answer.status}: {json.dumps(answer.body)}")


def _await_rest(asked: Sequence[Asked], api: Client) -> list[tuple[Request, Record]]:
    """Follow every job until it is at rest; one that never gets there is returned as it stands."""
    wanted = {job_id: each.request for each in asked for job_id in each.job_ids}
    records: dict[str, Record] = {}
    progress, last = Progress(), time.monotonic()
    with ThreadPoolExecutor(ASKING) as pool:
        while True:
            waiting = [job_id for job_id in wanted if job_id not in records or not _rests(records[job_id])]
            before = len(wanted) - len(waiting)
            for record in pool.map(lambda job_id: _record(api, job_id, wanted[job_id]), waiting):
                records[record.id] = record
                if record.told_by is not None:
                    wanted.setdefault(record.told_by, Request(None, {}))
            done = Counter(record.state for record in records.values() if _rests(record))
            states = ", ".join(f"{count} {state}" for state, count in sorted(done.items()))
            progress.show(f"at rest: {done.total()} of {len(wanted)} ({states})")
            if done.total() > before:
                last = time.monotonic()
            if done.total() == len(wanted) or time.monotonic() - last > PATIENCE:
                progress.end()
                return [(wanted[record.id], record) for record in records.values()]
            time.sleep(0.5)


def _rests(record: Record) -> bool:
    return record.state in AT_REST


def _record(api: Client, job_id: str, request: Request) -> Record:
    answer = api.get(f"/v1/jobs/{job_id}")
    if answer.status != 200:
        raise DemoFailed(f"GET /v1/jobs/{job_id} was answered with {answer.status}: {answer.body}")
    body = answer.body
    result = body.get("result") or {}
    entered_as = result.get("mintAddress") or request.entered_as  # the chain knows no jobs
    return Record(
        job_id,
        body["type"],
        body["state"],
        body.get("reason"),
        request.amount,
        result,
        body.get("providerObject"),
        entered_as,
        body.get("callbackJobId"),
    )


def _armed(stand_ins: Client) -> Mapping[tuple[str, str], int]:
    """Return what has not struck yet."""
    left: Counter[tuple[str, str]] = Counter()
    for fault in stand_ins.get("/_faults").body["faults"]:
        left[fault["provider"], fault["mode"]] += fault["count"]
    return left


def _conclude(
    asked: Sequence[Asked], reckoning: Reckoning, struck: Mapping[tuple[str, str], int], seconds: float
) -> int:
    """Print the table and the verdict."""
    deduplicated = sum(answer.body["deduplicated"] for each in asked for answer in each.answers)
    rows = {
        "accepted": len({job_id for each in asked for job_id in each.job_ids}),
        "deduplicated": deduplicated,
        **reckoning.counts,
    }
    disagreements = list(reckoning.disagreements)
    disagreements += [
        f"{' and '.join(sorted(each.job_ids))} stand for the same request: {json.dumps(each.request.body)}"
        for each in asked
        if len(each.job_ids) != 1
    ]
    print()
    for name, count in rows.items():
        print(f"  {name:<14}{count:>8}")
    faults = ", ".join(f"{provider} {mode} x {count}" for (provider, mode), count in struck.items() if count)
    print(f"\n  faults survived: {faults or 'none struck'}")
    print(f"  from the first request to the last job at rest: {seconds:.1f} s\n")
    if disagreements:
        print("The ledger and the records DO NOT agree:")
        for line in disagreements:
            print(f"  {line}")
        return 1
    print(
        "The ledger and the records agree: every completed job has its one effect, every declined one has none."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
