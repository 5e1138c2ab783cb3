"""A monitor, and the alerting that goes with it, over fakes whose clock a test moves."""

from dataclasses import dataclass, field, replace
from datetime import timedelta

from chalicelib.domain.heartbeat import Function
from chalicelib.domain.job import JobId
from chalicelib.domain.judging import Thresholds
from chalicelib.domain.policies import Lane, Tier
from chalicelib.domain.tally import Counts, Series
from chalicelib.jobtypes import discover
from chalicelib.service.alerting import Alerting
from chalicelib.service.monitor import Monitor, Monitored
from tests.factories import a_job
from tests.fakes import ListJournal, ManualClock, MemoryLeases, MemoryQueue, MemoryStore, SeededChance
from tests.fakes_alerts import MemoryAlertBook, MemoryOutlets
from tests.fakes_backlog import MemoryBacklog
from tests.fakes_metrics import MemoryMetrics
from tests.fakes_search import MemoryJobIndex

OVERDUE = replace(a_job(), overdue=True)
RUN = timedelta(seconds=60)


@dataclass
class Watch:
    """A monitor over fakes whose clock a test moves."""

    clock: ManualClock = field(default_factory=ManualClock)
    metrics: MemoryMetrics = field(default_factory=MemoryMetrics)
    store: MemoryStore = field(default_factory=MemoryStore)
    book: MemoryAlertBook = field(default_factory=MemoryAlertBook)
    outlets: MemoryOutlets = field(default_factory=MemoryOutlets)
    leases: MemoryLeases = field(default_factory=MemoryLeases)
    journal: ListJournal = field(default_factory=ListJournal)
    alive: set[Function] = field(default_factory=lambda: set(Function) - {Function.MONITOR})

    def __post_init__(self) -> None:
        self.queue = MemoryQueue(self.clock)
        self.backlog = MemoryBacklog(self.queue, self.store)
        self.monitor = Monitor(
            metrics=self.metrics,
            backlog=self.backlog,
            leases=self.leases,
            types=discover(),
            clock=self.clock,
            chance=SeededChance(),
            journal=self.journal,
            alerting=Alerting(
                book=self.book,
                outlets=lambda: self.outlets.all,
                store=self.store,
                index=MemoryJobIndex(self.store),
                backlog=self.backlog,
                metrics=self.metrics,
                heartbeats=self.leases,
                thresholds=Thresholds(),
                clock=self.clock,
                chance=SeededChance(),
                journal=self.journal,
                base_url="https://queue.example",
            ),
        )

    def run(self) -> Monitored:
        """Run the monitor, after the other functions have run well, as far as they are `alive`."""
        for function in self.alive:
            self.leases.run_well(function, at=self.clock.now())
        return self.monitor.run(ends=self.clock.now() + RUN)

    def count(self, counts: Counts) -> None:
        self.metrics.add(counts, at=self.clock.now(), spread=0.0)

    @property
    def series(self) -> Series:
        assert self.metrics.kept is not None
        return self.metrics.kept

    def wait_money(self, count: int) -> None:
        """Have this many money jobs wait, all of them missed once; there are none beside them."""
        self.queue.messages.clear()
        self.store.jobs.clear()
        for n in range(count):
            self.queue.put(Tier.MONEY, Lane.MAIN, f"{n}")
            self.store.jobs[JobId(f"job_{n}")] = replace(OVERDUE, id=JobId(f"job_{n}"), due=self.clock.now())

    @property
    def calls(self) -> int:
        """How many calls were made to the queues, the index of the overdue and the alerts."""
        return self.backlog.calls + self.book.calls
