"""Wiring of what watches the service and tells of it: figures, queues, health, and the monitor behind them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from chalicelib.adapters import Adapters
from chalicelib.domain.backlog import Backlog
from chalicelib.domain.jobtype import JobType
from chalicelib.service.alerting import Alerting
from chalicelib.service.alerts import Alerts
from chalicelib.service.emission import Emission, EmittingBacklog, LimiterGauges
from chalicelib.service.figures import Figures
from chalicelib.service.health import Health
from chalicelib.service.monitor import Monitor
from chalicelib.service.queues import Queues
from chalicelib.service.recount import Recount
from chalicelib.service.traffic import Traffic
from chalicelib.settings import Settings


@dataclass(frozen=True)
class Watch:
    """The use cases that look and change nothing but their own records."""

    queues: Queues
    figures: Figures
    metrics_token: Callable[[], str] | None  # the scraper's; None: there is none
    health: Health
    monitor: Monitor
    recount: Recount
    alerts: Alerts
    traffic: Traffic
    emission: Emission
    limiter_gauges: LimiterGauges


def watch(settings: Settings, adapters: Adapters, types: Mapping[str, JobType], emission: Emission) -> Watch:
    """Make them over adapters; what the monitor sees is told of."""
    seen = EmittingBacklog(adapters.backlog, emission, adapters.clock) if emission.on else adapters.backlog
    figures = _figures(settings, adapters, types)
    token = settings.metrics_token
    return Watch(
        queues=Queues(backlog=adapters.backlog, store=adapters.store, figures=figures, clock=adapters.clock),
        figures=figures,
        metrics_token=None if token is None else partial(adapters.tell, token, False),
        health=_health(settings, adapters),
        monitor=_monitor(settings, adapters, types, seen),
        recount=_recount(settings, adapters, types),
        alerts=Alerts(
            book=adapters.alert_book,
            outlets=adapters.outlets,
            crew=adapters.crew,
            clock=adapters.clock,
            chance=adapters.chance,
            journal=adapters.journal,
            base_url=settings.public_base_url,
        ),
        traffic=Traffic(
            adapters.metrics, clock=adapters.clock, chance=adapters.chance, journal=adapters.journal
        ),
        emission=emission,
        limiter_gauges=LimiterGauges(
            adapters.limiter,
            emission,
            frozenset(job_type.provider for job_type in types.values()),
            clock=adapters.clock,
            journal=adapters.journal,
        ),
    )


def _figures(settings: Settings, adapters: Adapters, types: Mapping[str, JobType]) -> Figures:
    return Figures(
        metrics=adapters.metrics,
        stock=adapters.stock,
        backlog=adapters.backlog,
        limiter=adapters.limiter,
        alerts=adapters.alert_book,
        heartbeats=adapters.leases,
        silence=settings.alerts.thresholds.silence,
        types=types,
        clock=adapters.clock,
    )


def _monitor(settings: Settings, adapters: Adapters, types: Mapping[str, JobType], seen: Backlog) -> Monitor:
    return Monitor(
        metrics=adapters.metrics,
        backlog=seen,
        leases=adapters.leases,
        types=types,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        alerting=_alerting(settings, adapters, seen),
        timing=settings.timing,
    )


def _recount(settings: Settings, adapters: Adapters, types: Mapping[str, JobType]) -> Recount:
    return Recount(
        book=adapters.stock,
        index=adapters.index,
        metrics=adapters.metrics,
        leases=adapters.leases,
        types=types,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        timing=settings.timing,
    )


def _alerting(settings: Settings, adapters: Adapters, seen: Backlog) -> Alerting:
    return Alerting(
        book=adapters.alert_book,
        outlets=adapters.outlets,
        store=adapters.store,
        index=adapters.index,
        backlog=seen,
        metrics=adapters.metrics,
        heartbeats=adapters.leases,
        thresholds=settings.alerts.thresholds,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        base_url=settings.public_base_url,
    )


def _health(settings: Settings, adapters: Adapters) -> Health:
    return Health(
        probes=adapters.probes,
        clock=adapters.clock,
        journal=adapters.journal,
        configured={
            "stripe": settings.stripe is not None,
            "ses": settings.mail.sender is not None,
            "twilio": settings.twilio is not None,
            "solana": settings.solana is not None,
            "order-service": settings.order_service is not None,
            "eventbridge": settings.analytics_bus is not None,
        },
    )
