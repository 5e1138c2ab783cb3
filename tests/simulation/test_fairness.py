"""One venue's storm does not starve another: the fair queue, the limiter and the worker together."""

import heapq
from datetime import timedelta

import pytest

from chalicelib.domain.job import Job, JobId, VenueId
from chalicelib.domain.message import Hint, encode
from chalicelib.domain.policies import Tier
from chalicelib.domain.ports import Received
from chalicelib.domain.providers import Begun, Mail
from chalicelib.jobtypes import discover
from chalicelib.service.execute import Execute
from chalicelib.worker import Worker
from tests.factories import a_job
from tests.fakes import MemoryStore
from tests.fakes_limiter import MemoryLimiter
from tests.fakes_registry import MemoryRegistry
from tests.simulation.adapters import SimLimiter, SimStore
from tests.simulation.world import SECOND, Process, World

MAIL = discover()["email.send"]
STORM, QUIET = VenueId("venue-a"), VenueId("venue-b")
CONSUMERS = 10  # the event source's MaximumConcurrency
ARRIVES = 20 * SECOND  # long after the storm has used up what it may


class FairQueue:
    """A standard queue with message groups, as SQS serves it: the group that has least in flight goes first."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.visible: dict[VenueId, list[tuple[int, int, JobId]]] = {}
        self.in_flight: dict[VenueId, int] = {}
        self.receives: dict[JobId, int] = {}
        self._order = 0

    def put(self, venue: VenueId, job_id: JobId, when: int) -> None:
        self._order += 1
        heapq.heappush(self.visible.setdefault(venue, []), (when, self._order, job_id))

    def receive(self, most: int = 10) -> list[tuple[VenueId, JobId]]:
        batch: list[tuple[VenueId, JobId]] = []
        while len(batch) < most:
            ready = [venue for venue, heap in self.visible.items() if heap and heap[0][0] <= self.world.now]
            if not ready:
                break
            venue = min(ready, key=lambda each: self.in_flight.get(each, 0))
            _, _, job_id = heapq.heappop(self.visible[venue])
            self.in_flight[venue] = self.in_flight.get(venue, 0) + 1
            self.receives[job_id] = self.receives.get(job_id, 0) + 1
            batch.append((venue, job_id))
        return batch


class SlowMailer:
    """A mailer that takes as long as SES does."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def send(self, mail: Mail, *, begun: Begun, deadline: object) -> str:
        self._process.world.wait(self._process, self._process.world.chance.randrange(150, 350))
        return "ses-1"


class Mails:
    """What a mail job asks for."""

    def __init__(self, process: Process) -> None:
        self.mailer = SlowMailer(process)

    @property
    def payments(self) -> object:
        raise AssertionError("no mail is paid")


class Inbox:
    """The receiving side of a batch in hand."""

    def __init__(self, queue: FairQueue, batch: dict[str, tuple[VenueId, JobId]]) -> None:
        self._queue = queue
        self._batch = batch

    def postpone(self, delays: dict[str, timedelta]) -> None:
        for handle, delay in delays.items():
            venue, job_id = self._batch[handle]
            seconds = -(-delay // timedelta(seconds=1))
            self._queue.put(venue, job_id, self._queue.world.now + int(seconds) * SECOND)


class Sale:
    """An on-sale: one queue, ten consumers, one limiter."""

    def __init__(self, seed: int) -> None:
        self.world = World(f"fairness-{seed}")
        self.store = MemoryStore()
        self.limiter = MemoryLimiter()
        self.store.limiter = self.limiter
        self.queue = FairQueue(self.world)
        self.done_at: dict[VenueId, list[int]] = {}

    def submit(self, venue: VenueId, count: int, when: int) -> None:
        for number in range(count):
            job = a_mail(JobId(f"job_{venue}_{number:05d}"), venue)
            self.store.jobs[job.id] = job
            self.queue.put(venue, job.id, when)

    def quiet_venue_ends(self, count: int) -> int:
        """Run until the quiet venue's last mail is sent; return the milliseconds since it came."""
        for number in range(CONSUMERS):
            self.world.at(number, lambda number=number: self._poll(number))  # type: ignore[misc]  # defaults bind
        self._wanted = count
        self.world.run()
        return self.done_at[QUIET][-1] - ARRIVES

    def _poll(self, number: int) -> None:
        if len(self.done_at.get(QUIET, ())) >= self._wanted:
            return
        batch = self.queue.receive()
        if not batch:
            self.world.at(self.world.now + 20, lambda: self._poll(number))
            return
        process = Process(self.world, f"consumer-{number}")
        process.start(lambda: self._consume(process, number, batch))

    def _consume(self, process: Process, number: int, batch: list[tuple[VenueId, JobId]]) -> None:
        in_hand = {job_id: (venue, job_id) for venue, job_id in batch}
        execute = Execute(
            store=SimStore(process, self.store),
            registry=MemoryRegistry(),
            queue=None,  # type: ignore[arg-type]  # nobody is told
            providers=Mails(process),  # type: ignore[arg-type]  # mails alone
            types={MAIL.name: MAIL},
            clock=process,
            chance=process,
            crew=process,
            journal=process,
            limiter=SimLimiter(process, self.limiter),
        )
        worker = Worker(
            tier=Tier.COMMUNICATION,
            execute=execute,
            queue=None,  # type: ignore[arg-type]  # there is no poison
            inbox=Inbox(self.queue, in_hand),  # type: ignore[arg-type]  # by handle
            journal=process,
        )
        received = [
            Received(job_id, encode(Hint(job_id, venue)), job_id, self.queue.receives[job_id])
            for venue, job_id in batch
        ]
        keep = worker.run_batch(received, ends=process.ends)
        for venue, job_id in batch:
            self.queue.in_flight[venue] -= 1
            if job_id not in keep:
                self.done_at.setdefault(venue, []).append(self.world.now)
        self.world.at(self.world.now, lambda: self._poll(number))


def a_mail(job_id: JobId, venue: VenueId) -> Job:
    return a_job(
        job_id,
        type=MAIL.name,
        tier=MAIL.tier,
        venue_id=venue,
        priority=5,
        attempts=3,
        payload=dict(MAIL.example),
    )


@pytest.mark.parametrize("seed", range(3))
def test_venue_with_ten_mails_ends_within_twice_its_time_while_another_has_ten_thousand(seed: int) -> None:
    alone, crowded = Sale(seed), Sale(seed)
    alone.submit(QUIET, 10, ARRIVES)
    crowded.submit(STORM, 10_000, 0)
    crowded.submit(QUIET, 10, ARRIVES)

    by_itself = alone.quiet_venue_ends(10)
    in_the_storm = crowded.quiet_venue_ends(10)

    assert in_the_storm <= 2 * by_itself
    assert len(crowded.done_at[STORM]) > 14 * 15, "and the storm is served meanwhile"
