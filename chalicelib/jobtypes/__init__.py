"""The job types, one file each: a new one is found here by being there."""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from chalicelib.domain.jobtype import JobType


def discover() -> Mapping[str, JobType]:
    """Return every job type by its name, in the order of the names."""
    modules = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__) if not found.ispkg]
    found = [module.JOB_TYPE for module in modules if hasattr(module, "JOB_TYPE")]
    return table(found)


def table(job_types: list[JobType]) -> Mapping[str, JobType]:
    """Return job types by name; raises ValueError if two share a name or an alias."""
    names = [name for job_type in job_types for name in (job_type.name, *job_type.aliases)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"More than one job type is called {', '.join(twice)}.")
    return MappingProxyType({each.name: each for each in sorted(job_types, key=lambda each: each.name)})
