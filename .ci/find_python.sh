#!/usr/bin/env bash
# Prints the first interpreter that can build our environment: new enough, and able to make one.
# (Debian ships python3 without venv, and version managers put names on PATH that answer with an error.)
set -euo pipefail

for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python3.14 python}; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        # The interpreter itself, not a wrapper that chooses another one in another directory.
        "$candidate" -c 'import sys; print(sys.executable)'
        exit 0
    fi
done

tried=${PYTHON:-python3, python3.11 to python3.14, python}
echo "error: found no Python 3.11 or newer that can make environments (tried: $tried)" >&2
echo "hint: install one (Debian: apt-get install python3 python3-venv), or name it: make PYTHON=..." >&2
exit 1
