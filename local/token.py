"""Print a token for the local stack, and nothing else: `make token ROLE=admin VENUE=v1 SUB=u1`."""

import os
import sys

from local.identity import UnknownRole, signing_secret, token
from local.options import local_directory


def main() -> int:
    """Print the token that ROLE, VENUE and SUB ask for."""
    try:
        print(
            token(
                signing_secret(local_directory()),
                role=os.environ.get("ROLE") or "admin",
                venue=os.environ.get("VENUE", "v1"),
                subject=os.environ.get("SUB") or "u1",
            )
        )
    except UnknownRole as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
