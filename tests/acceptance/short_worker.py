"""`local/worker.py` with the job types of these tests: `python -m tests.acceptance.short_worker`."""

import os
import sys

from chalicelib.wiring import install
from local import worker
from tests.acceptance.works import short_service

if __name__ == "__main__":
    install(short_service(os.environ)[0])
    sys.exit(worker.main())
