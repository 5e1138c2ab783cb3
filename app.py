"""The map of the service: the routes, and every function that a queue or a clock calls.

Queue and schedule functions are declared here and nowhere else: in a Blueprint they would deploy under another
module, and this one would never be imported.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from chalice.app import Chalice, CloudWatchEvent, Cron, Rate, SQSEvent

from chalicelib.domain.policies import Lane, Tier
from chalicelib.http import (
    alerts,
    audit,
    batches,
    bulk,
    callbacks_ses,
    callbacks_stripe,
    callbacks_twilio,
    control,
    dashboard,
    dead_letters,
    docs,
    endpoints,
    health,
    job_actions,
    jobs,
    metrics,
    queues,
    rate_limits,
    schedules,
    suppressions,
    venues,
)
from chalicelib.http.cors import answer_preflights, cors
from chalicelib.http.traffic import counted
from chalicelib.http.views import one_shape
from chalicelib.wiring import service
from chalicelib.worker import Worker, consume, discreet

BATCH = 10

app = Chalice(app_name="queue-service", configure_logs=False)
app.register_middleware(counted, "http")
app.register_middleware(cors, "http")
app.register_middleware(one_shape, "http")
app.register_blueprint(jobs.routes, url_prefix="/v1")
app.register_blueprint(batches.routes, url_prefix="/v1")
app.register_blueprint(bulk.routes, url_prefix="/v1")
app.register_blueprint(job_actions.routes, url_prefix="/v1")
app.register_blueprint(schedules.routes, url_prefix="/v1")
app.register_blueprint(endpoints.routes, url_prefix="/v1")
app.register_blueprint(control.routes, url_prefix="/v1")
app.register_blueprint(queues.routes, url_prefix="/v1")
app.register_blueprint(rate_limits.routes, url_prefix="/v1")
app.register_blueprint(dead_letters.routes, url_prefix="/v1")
app.register_blueprint(audit.routes, url_prefix="/v1")
app.register_blueprint(suppressions.routes, url_prefix="/v1")
app.register_blueprint(callbacks_ses.routes, url_prefix="/v1")
app.register_blueprint(callbacks_stripe.routes, url_prefix="/v1")
app.register_blueprint(callbacks_twilio.routes, url_prefix="/v1")
app.register_blueprint(alerts.routes, url_prefix="/v1")
app.register_blueprint(metrics.routes, url_prefix="/v1")
app.register_blueprint(metrics.at_the_root)
app.register_blueprint(venues.routes, url_prefix="/v1")
app.register_blueprint(health.routes)
app.register_blueprint(docs.routes)
app.register_blueprint(dashboard.routes)
answer_preflights(app)  # after the last route


def _consume(tier: Tier, lane: Lane, event: SQSEvent) -> dict[str, Any]:
    made = service()
    inbox = made.inboxes(tier, lane)
    worker = Worker(tier, made.execute, made.queue, inbox, made.journal)
    with discreet(made.journal, f"{tier}_{lane}", made.traces), made.watch.emission.at_the_end():
        return consume(worker, event.to_dict(), ends=_ends(event.context))


@contextmanager
def _run(function: str) -> Iterator[Callable[[Any], None]]:
    """Let a scheduled function run; it says what it did, which is told of at its end."""
    made = service()
    with discreet(made.journal, function, made.traces), made.watch.emission.of_run(function) as did:
        yield did


def _ends(context: Any) -> datetime:
    """Return the moment at which the running invocation is cut off."""
    return service().clock.now() + timedelta(milliseconds=int(context.get_remaining_time_in_millis()))


@app.on_sqs_message(queue="money-queue", batch_size=BATCH)
def consume_money(event: SQSEvent) -> dict[str, Any]:
    """Run a batch of the money tier."""
    return _consume(Tier.MONEY, Lane.MAIN, event)


@app.on_sqs_message(queue="money-queue-express", batch_size=BATCH)
def consume_money_express(event: SQSEvent) -> dict[str, Any]:
    """Run an urgent batch of the money tier."""
    return _consume(Tier.MONEY, Lane.EXPRESS, event)


@app.on_sqs_message(queue="communication-queue", batch_size=BATCH)
def consume_communication(event: SQSEvent) -> dict[str, Any]:
    """Run a batch of the communication tier."""
    return _consume(Tier.COMMUNICATION, Lane.MAIN, event)


@app.on_sqs_message(queue="communication-queue-express", batch_size=BATCH)
def consume_communication_express(event: SQSEvent) -> dict[str, Any]:
    """Run an urgent batch of the communication tier."""
    return _consume(Tier.COMMUNICATION, Lane.EXPRESS, event)


@app.on_sqs_message(queue="background-queue", batch_size=BATCH)
def consume_background(event: SQSEvent) -> dict[str, Any]:
    """Run a batch of the background tier."""
    return _consume(Tier.BACKGROUND, Lane.MAIN, event)


@app.on_sqs_message(queue="background-queue-express", batch_size=BATCH)
def consume_background_express(event: SQSEvent) -> dict[str, Any]:
    """Run an urgent batch of the background tier."""
    return _consume(Tier.BACKGROUND, Lane.EXPRESS, event)


@app.schedule(Rate(1, unit=Rate.MINUTES))
def dispatch(event: CloudWatchEvent) -> None:
    """Send what was accepted and waits for nothing but a message; let the event sources follow the controls."""
    with _run("dispatch") as did:
        service().sources.follow()
        did(service().dispatch.run(ends=_ends(event.context)))


@app.schedule(Rate(1, unit=Rate.MINUTES))
def run_schedules(event: CloudWatchEvent) -> None:
    """Make the jobs of the schedules that are due."""
    with _run("run_schedules") as did:
        did(service().run_schedules.run(ends=_ends(event.context)))


@app.schedule(Rate(1, unit=Rate.MINUTES))
def run_operations(event: CloudWatchEvent) -> None:
    """Go on with what operators have begun on many jobs at once."""
    with _run("run_operations") as did:
        did(service().run_operations.run(ends=_ends(event.context)))


@app.schedule(Rate(1, unit=Rate.MINUTES))
def monitor(event: CloudWatchEvent) -> None:
    """Add up what consumers counted, minute by minute, and tell people of what is wrong."""
    with _run("monitor") as did:
        did(service().watch.monitor.run(ends=_ends(event.context)))
        service().watch.limiter_gauges.measure()


@app.schedule(Rate(5, unit=Rate.MINUTES))
def recount(event: CloudWatchEvent) -> None:
    """Count the jobs in each state, and the money that waits."""
    with _run("recount") as did:
        did(service().watch.recount.run(ends=_ends(event.context)))


@app.schedule(Cron(0, 3, "*", "*", "?", "*"))
def cleanup(event: CloudWatchEvent) -> None:
    """Archive and delete what has been kept for long enough."""
    with _run("cleanup") as did:
        ends, keeping = _ends(event.context), service().keeping()
        did(done := keeping.cleanup.run(ends=ends))
        if done.ran:
            keeping.erasures.run(until=ends - service().settings.timing.settle_margin)
