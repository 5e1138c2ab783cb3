"""The archive in an operator's hands, with the stage's settings and AWS credentials in the environment.

    preview                       what the next cleanup would archive
    run                           the cleanup, now
    list payment_archive/         what is there, by prefix
    verify payment_archive/       each object against its manifest; ends with 1 if one is damaged
    restore PREFIX --reason WHY   jobs back into the table, for 30 days; --job ID for some
    erase --user ID --reason WHY  a person's data out of it; or --venue ID --address A

`--local` takes the stack that `make run` started last instead of the environment. Nothing here is deployed.
"""

import argparse
import getpass
import json
import os
import sys
from datetime import timedelta
from pathlib import Path

from chalicelib import wiring
from chalicelib.domain.archive import Damaged
from chalicelib.domain.errors import QueueServiceError
from chalicelib.keeping import Keeping
from chalicelib.service.archived import Person, Who
from chalicelib.service.cleanup import CleanedUp

AN_HOUR = timedelta(hours=1)


def main(arguments: list[str]) -> int:
    """Do what is asked for; return the exit code."""
    asked = _asked(arguments)
    if asked.local:
        _take_local()
    service = wiring.service()
    try:
        return _do(asked, service.keeping(), Who(getpass.getuser(), getattr(asked, "reason", "")), service)
    except (Damaged, QueueServiceError) as error:
        print(f"It was not finished: {error}", file=sys.stderr)
        return 1


def _do(asked: argparse.Namespace, keeping: Keeping, who: Who, service: wiring.Service) -> int:
    ends = service.clock.now() + AN_HOUR
    match asked.what:
        case "preview":
            return _told(keeping.cleanup.preview(ends=ends), "would go")
        case "run":
            return _told(keeping.cleanup.run(ends=ends), "went")
        case "list":
            for each in keeping.archived.manifests(asked.prefix):
                print(f"{each.count:>6} {each.size:>9} B  {each.key}")
        case "verify":
            return _verified(keeping, asked.prefix)
        case "restore":
            jobs = frozenset(asked.job) if asked.job else None
            done = keeping.archived.restore(asked.prefix, who, job_ids=jobs)
            print(f"{done.restored} restored, {done.stood} stood already.")
        case "erase":
            person = Person(asked.user, asked.venue, asked.address)
            gone = keeping.archived.erase(person, who)
            print(f"{gone.jobs} jobs erased in {gone.objects} objects.")
    return 0


def _told(done: CleanedUp, verb: str) -> int:
    if not done.ran:
        print("Another run is at it.")
        return 0
    for (archive, kind), (count, size) in sorted(done.kinds.items()):
        print(f"{archive} {kind}: {count} {verb}, {size} bytes of lines")
    print(f"{done.archived} {verb}, {done.put_off} put off{', more is left' if done.left else ''}.")
    return int(done.failed)


def _verified(keeping: Keeping, prefix: str) -> int:
    sound = damaged = 0
    for name, wrong in keeping.archived.verify(prefix):
        sound, damaged = sound + (wrong is None), damaged + (wrong is not None)
        if wrong is not None:
            print(f"{name}: {wrong}", file=sys.stderr)
    print(f"{sound} sound, {damaged} damaged.")
    return int(damaged > 0)


def _take_local() -> None:
    """Take the environment of the running local stack."""
    from local.identity import signing_secret
    from local.options import local_directory
    from local.stack import create_stack

    directory = local_directory()
    aws = json.loads(Path(directory, "endpoints.json").read_text())["aws"]
    os.environ.update(create_stack(aws) | {"STAGE": "local", "JWT_SECRET": signing_secret(directory)})
    os.environ.setdefault("LOG_LEVEL", "ERROR")


def _asked(arguments: list[str]) -> argparse.Namespace:
    parser = _parser()
    asked = parser.parse_args(arguments)
    if asked.what == "erase":
        by_user, by_address = asked.user is not None, asked.address is not None
        if by_user == by_address or by_address != (asked.venue is not None):
            parser.error("erase wants either --user, or --venue and --address")
    return asked


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.archive", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--local", action="store_true", help="the stack that `make run` started last")
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("preview")
    commands.add_parser("run")
    for name in ("list", "verify"):
        commands.add_parser(name).add_argument("prefix", nargs="?", default="")
    restore = commands.add_parser("restore")
    restore.add_argument("prefix")
    restore.add_argument("--job", action="append", help="this job alone; may come several times")
    erase = commands.add_parser("erase")
    erase.add_argument("--user")
    erase.add_argument("--venue")
    erase.add_argument("--address")
    for each in (restore, erase):
        each.add_argument("--reason", required=True, help="stands in the audit log")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
