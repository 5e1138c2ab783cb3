"""`python -m queue_service` is the command line, too."""

import sys

from queue_service.cli import main

sys.exit(main())
