#!/usr/bin/env bash
# Writes requirements/constraints.txt: the newest versions that pyproject.toml allows.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

"$(.ci/find_python.sh)" -m venv "$scratch/venv"
"$scratch/venv/bin/python" -m pip install -qq --editable '.[dev,embedded]'
{
    echo "# The exact versions that development and CI use: the same commit gives the same answer tomorrow."
    echo "# Users are not bound by them; what the package accepts is in pyproject.toml. Renew: make constraints"
    "$scratch/venv/bin/python" -m pip freeze --exclude-editable
} >"$scratch/constraints.txt"
mv "$scratch/constraints.txt" requirements/constraints.txt
