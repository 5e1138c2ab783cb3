#!/bin/sh
# Find a Python that runs (a pyenv shim may be there and fail) and let it install what the named target needs.
# All that this says goes to stderr: `make token` has nothing but a token on stdout.
cd "$(dirname "$0")/.." || exit 1
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

if [ -n "$PYTHON" ]; then
    "$PYTHON" -c "$fits" >/dev/null 2>&1 && exec "$PYTHON" -m local.install "$@" >&2
    echo "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13 that runs. Name another, or leave PYTHON out." >&2
    exit 1
fi
# The Python that was chosen the last time, if its environment was finished, saves the search.
.venv/bin/python -c "import pip; $fits" >/dev/null 2>&1 && exec .venv/bin/python -m local.install "$@" >&2
for python in python3.13 python3.12 python3.11 python3 python; do
    "$python" -c "$fits" >/dev/null 2>&1 && exec "$python" -m local.install "$@" >&2
done
echo "No Python 3.11, 3.12 or 3.13 was found. Install one (Debian, Ubuntu: apt-get install python3 python3-venv;" \
    "macOS: brew install python@3.13), or say where it is: make PYTHON=/path/to/python3" >&2
exit 1
