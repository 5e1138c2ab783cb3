"""The job types: one file each, discovered; a new type is one new file."""

import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module

from chalicelib.domain.jobtype import JobType


class Registry(Mapping[str, JobType]):
    """Every job type by name; the older names are accepted, too, by `find`."""

    def __init__(self, types: list[JobType]) -> None:
        self._types = {job_type.name: job_type for job_type in sorted(types, key=lambda row: row.name)}
        self._names = {alias: job_type for job_type in types for alias in (job_type.name, *job_type.aliases)}

    def find(self, name: str) -> JobType | None:
        """Return the type of this name or older name."""
        return self._names.get(name)

    def __getitem__(self, name: str) -> JobType:
        return self._types[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._types)

    def __len__(self) -> int:
        return len(self._types)


@cache
def discover() -> Registry:
    """Return the registry of every module of this package that defines a JOB_TYPE."""
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    modules = [import_module(f"{__name__}.{name}") for name in names]
    return Registry([module.JOB_TYPE for module in modules])
