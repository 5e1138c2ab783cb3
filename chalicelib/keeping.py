"""Wiring of what is kept and for how long: the cleanup, and its archive."""

from collections.abc import Mapping
from dataclasses import dataclass

from chalicelib.adapters import Adapters
from chalicelib.domain.jobtype import JobType
from chalicelib.domain.policies import Timing
from chalicelib.service.archived import Archived
from chalicelib.service.cleanup import Cleanup
from chalicelib.service.erasures import Erasures


@dataclass(frozen=True)
class Keeping:
    """The use cases behind retention, and what operators do with the archive."""

    cleanup: Cleanup
    archived: Archived
    erasures: Erasures


def keeping(adapters: Adapters, types: Mapping[str, JobType], timing: Timing) -> Keeping:
    """Make them over adapters; this makes the archive's client, which connects to nothing yet."""
    cleaning, archive = adapters.kept()
    archived = Archived(
        archive=archive,
        cleaning=cleaning,
        clock=adapters.clock,
        chance=adapters.chance,
        journal=adapters.journal,
    )
    return Keeping(
        cleanup=Cleanup(
            store=adapters.store,
            cleaning=cleaning,
            archive=archive,
            audit_log=adapters.audit_log,
            leases=adapters.leases,
            types=types,
            clock=adapters.clock,
            chance=adapters.chance,
            journal=adapters.journal,
            timing=timing,
        ),
        archived=archived,
        erasures=Erasures(
            operations=adapters.operations,
            archived=archived,
            cleaning=cleaning,
            clock=adapters.clock,
            journal=adapters.journal,
        ),
    )
