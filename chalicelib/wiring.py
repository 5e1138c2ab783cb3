"""Wiring: the use cases over the adapters, made once per container by plain constructor calls."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from os import environ

from chalicelib import jobtypes
from chalicelib.adapters import BUILDING, Adapters, on_aws
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import Lane, Tier, Timing
from chalicelib.domain.ports import (
    Clock,
    Inbox,
    JobQueue,
    JobStore,
    Journal,
    Traces,
)
from chalicelib.keeping import Keeping, keeping
from chalicelib.service.audit import Audit
from chalicelib.service.batch import Batch
from chalicelib.service.callbacks import Callbacks, Seal
from chalicelib.service.clone import Clone
from chalicelib.service.control import Stops
from chalicelib.service.dead_letters import DeadLetters
from chalicelib.service.dispatch import Dispatch
from chalicelib.service.endpoints import Endpoints
from chalicelib.service.execute import Execute
from chalicelib.service.fates import Executes
from chalicelib.service.intake import Intake
from chalicelib.service.keyring import KeyRing
from chalicelib.service.limits import Limits
from chalicelib.service.listing import Listing
from chalicelib.service.mail_events import MailEvents
from chalicelib.service.manage import Manage
from chalicelib.service.operations import Operations
from chalicelib.service.opt_outs import OptOuts
from chalicelib.service.quiet_hours import VenueQuietHours
from chalicelib.service.rate_limits import RateLimits
from chalicelib.service.read import Read
from chalicelib.service.run_operations import RunOperations
from chalicelib.service.run_schedules import RunSchedules
from chalicelib.service.schedule_intake import ScheduleIntake
from chalicelib.service.schedules import Schedules
from chalicelib.service.sources import Sources
from chalicelib.service.steering import Steering
from chalicelib.service.submit import Submit
from chalicelib.service.submit_together import SubmitTogether
from chalicelib.service.suppressions import LookAfterSuppressions
from chalicelib.settings import OWN_MACHINE, Settings
from chalicelib.telling import tell_of
from chalicelib.watching import Watch, watch


@dataclass(frozen=True)
class Service:
    """The use cases, and what the edges of the service need beside them."""

    settings: Settings
    clock: Clock
    journal: Journal
    token_keys: KeyRing
    limits: Limits
    types: Mapping[str, JobType]
    intake: Intake
    submit: Submit
    batch: Batch
    read: Read
    listing: Listing
    dead_letters: DeadLetters
    audit: Audit
    steering: Steering
    stops: Stops
    sources: Sources
    rate_limits: RateLimits
    suppressions: LookAfterSuppressions
    mail_events: MailEvents
    watch: Watch
    keeping: Callable[[], Keeping]  # made when asked for: nobody but the cleanup wants it
    callbacks: Callbacks
    opt_outs: OptOuts
    quiet_hours: VenueQuietHours
    seals: Mapping[str, Seal]  # by vendor; one without a secret is not there
    execute: Executes
    dispatch: Dispatch
    schedules: Schedules
    endpoints: Endpoints
    run_schedules: RunSchedules
    operations: Operations
    run_operations: RunOperations
    queue: JobQueue
    inboxes: Callable[[Tier, Lane], Inbox]
    traces: Traces | None  # None: nothing is traced


def service() -> Service:
    """Return this container's service, made at the first call; raises SettingsError."""
    global _service  # noqa: PLW0603 - the one thing that a container keeps from one invocation to the next
    with BUILDING:
        if _service is None:
            settings = Settings.from_env(environ)
            _service = assemble(settings, on_aws(settings))
        return _service


def install(made: Service | None) -> None:
    """Make this the container's service, as another host wants it; None has the next call make one."""
    global _service  # noqa: PLW0603 - see above
    with BUILDING:
        _service = made


_service: Service | None = None


def assemble(settings: Settings, adapters: Adapters, types: Mapping[str, JobType] | None = None) -> Service:
    """Make the use cases over adapters; `types` are the discovered ones unless given."""
    types = types if types is not None else jobtypes.discover()
    teller = tell_of(settings, adapters, types)
    adapters = teller.adapters
    queue, clock, journal, timing = adapters.queue, adapters.clock, adapters.journal, settings.timing
    intake = Intake(types, own_machine=settings.stage in OWN_MACHINE)
    submit = _submit(adapters, timing)
    sources = Sources(store=adapters.store, sources=adapters.event_sources, clock=clock, journal=journal)
    run_schedules = _run_schedules(adapters, intake, submit, timing)
    listing = Listing(store=adapters.store, index=adapters.index, types=types, timing=timing)
    manage = _manage(adapters, types, timing)
    run_operations = _run_operations(adapters, listing, manage, types, timing)
    return Service(
        settings=settings,
        clock=clock,
        journal=journal,
        token_keys=KeyRing(adapters.read_token_keys, clock=clock, journal=journal),
        limits=Limits(adapters.quotas, clock=clock, journal=journal, base=settings.caller_limit),
        types=types,
        intake=intake,
        submit=submit,
        batch=_batch(adapters, intake, submit, timing),
        read=Read(adapters.store, clock),
        listing=listing,
        dead_letters=DeadLetters(store=adapters.store, index=adapters.index),
        audit=Audit(adapters.audit_log, clock=clock, timing=timing),
        steering=Steering(manage, _clone(adapters, intake, submit)),
        stops=_stops(adapters, types, sources),
        sources=sources,
        rate_limits=_rate_limits(adapters),
        suppressions=_suppressions(adapters),
        mail_events=_mail_events(adapters),
        watch=watch(settings, adapters, types, teller.emission),
        keeping=partial(keeping, adapters, types, timing),
        callbacks=_callbacks(adapters, types, timing),
        quiet_hours=VenueQuietHours(adapters.quiet_hours, clock=clock, chance=adapters.chance, journal=journal),
        opt_outs=OptOuts(adapters.suppressions, clock=clock, chance=adapters.chance, journal=journal),
        seals=_seals(settings, adapters),
        execute=teller.consuming(partial(_execute, adapters, timing), types),
        dispatch=_dispatch(adapters, types, timing),
        schedules=_schedules(adapters, intake, run_schedules),
        endpoints=_endpoints(settings, adapters),
        run_schedules=run_schedules,
        operations=_operations(adapters, listing, run_operations),
        run_operations=run_operations,
        queue=queue,
        inboxes=adapters.inboxes,
        traces=teller.traces,
    )


def _submit(adapters: Adapters, timing: Timing) -> Submit:
    return Submit(
        store=adapters.store,
        registry=adapters.registry,
        queue=adapters.queue,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        timing=timing,
    )


def _stops(adapters: Adapters, types: Mapping[str, JobType], sources: Sources) -> Stops:
    return Stops(
        store=adapters.store,
        types=types,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        sources=sources,
    )


def _rate_limits(adapters: Adapters) -> RateLimits:
    return RateLimits(
        adapters.limiter,
        adapters.store,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
    )


def _suppressions(adapters: Adapters) -> LookAfterSuppressions:
    return LookAfterSuppressions(
        adapters.suppressions, clock=adapters.clock, chance=adapters.chance, journal=adapters.journal
    )


def _mail_events(adapters: Adapters) -> MailEvents:
    return MailEvents(
        adapters.mail_topic, adapters.suppressions, clock=adapters.clock, journal=adapters.journal
    )


def _batch(adapters: Adapters, intake: Intake, submit: Submit, timing: Timing) -> Batch:
    together = SubmitTogether(
        store=adapters.store,
        registry=adapters.registry,
        queue=adapters.queue,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        timing=timing,
    )
    return Batch(intake, submit, together, adapters.chance)


def _callbacks(adapters: Adapters, types: Mapping[str, JobType], timing: Timing) -> Callbacks:
    return Callbacks(
        store=adapters.store,
        queue=adapters.queue,
        types=types,
        clock=adapters.clock,
        journal=adapters.journal,
        timing=timing,
    )


def _seals(settings: Settings, adapters: Adapters) -> Mapping[str, Seal]:
    return {
        vendor: Seal(partial(adapters.tell, secret), clock=adapters.clock, journal=adapters.journal)
        for vendor, secret in settings.signing_secrets.items()
    }


def _execute(
    adapters: Adapters, timing: Timing, store: JobStore, journal: Journal, types: Mapping[str, JobType]
) -> Execute:
    return Execute(
        store=store,
        registry=adapters.registry,
        queue=adapters.queue,
        providers=adapters.providers,
        types=types,
        clock=adapters.clock,
        chance=adapters.chance,
        crew=adapters.crew,
        journal=journal,
        limiter=adapters.limiter,
        suppressions=adapters.suppressions,
        metrics=adapters.metrics,
        timing=timing,
    )


def _clone(adapters: Adapters, intake: Intake, submit: Submit) -> Clone:
    return Clone(
        store=adapters.store,
        intake=intake,
        submit=submit,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
    )


def _manage(adapters: Adapters, types: Mapping[str, JobType], timing: Timing) -> Manage:
    return Manage(
        store=adapters.store,
        queue=adapters.queue,
        types=types,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        timing=timing,
    )


def _dispatch(adapters: Adapters, types: Mapping[str, JobType], timing: Timing) -> Dispatch:
    return Dispatch(
        store=adapters.store,
        queue=adapters.queue,
        leases=adapters.leases,
        types=types,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        timing=timing,
    )


def _run_schedules(adapters: Adapters, intake: Intake, submit: Submit, timing: Timing) -> RunSchedules:
    return RunSchedules(
        schedules=adapters.schedules,
        store=adapters.store,
        intake=intake,
        submit=submit,
        leases=adapters.leases,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        timing=timing,
    )


def _run_operations(
    adapters: Adapters, listing: Listing, manage: Manage, types: Mapping[str, JobType], timing: Timing
) -> RunOperations:
    return RunOperations(
        operations=adapters.operations,
        store=adapters.store,
        index=adapters.index,
        listing=listing,
        manage=manage,
        types=types,
        leases=adapters.leases,
        clock=adapters.clock,
        chance=adapters.chance,
        crew=adapters.crew,
        journal=adapters.journal,
        timing=timing,
    )


def _operations(adapters: Adapters, listing: Listing, runs: RunOperations) -> Operations:
    return Operations(
        operations=adapters.operations,
        runs=runs,
        listing=listing,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
    )


def _endpoints(settings: Settings, adapters: Adapters) -> Endpoints:
    return Endpoints(
        adapters.endpoints,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
        own_machine=settings.stage in OWN_MACHINE,
    )


def _schedules(adapters: Adapters, intake: Intake, runs: RunSchedules) -> Schedules:
    return Schedules(
        schedules=adapters.schedules,
        intake=ScheduleIntake(intake),
        runs=runs,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
    )
