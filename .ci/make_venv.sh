#!/usr/bin/env bash
# Makes or renews the development environment in the directory given, at the pinned versions.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
venv=$1

if [ -e "$venv" ] && [ ! -w "$venv" ]; then
    echo "error: $venv has to be renewed and belongs to another user" >&2
    echo "hint: remove it, or use another: make VENV=..." >&2
    exit 1
fi

# One that was interrupted, or whose interpreter is gone, is made anew.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    python=$(.ci/find_python.sh)
    echo "making $venv with $("$python" --version)" >&2
    "$python" -m venv --clear "$venv"
fi

# The build backend comes first, at its pinned version: without isolation nothing unpinned takes part.
install=("$venv/bin/python" -m pip install -qq --constraint requirements/constraints.txt)
"${install[@]}" hatchling editables
"${install[@]}" --no-build-isolation --editable '.[dev,embedded]'
