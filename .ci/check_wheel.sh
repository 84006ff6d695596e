#!/usr/bin/env bash
# What a stranger does first: installs the built wheel into an empty environment outside the checkout and runs
# it. Two mistakes show only there: files missing from the wheel, and dependencies that nobody declared.
set -euo pipefail
checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
wheel=$(echo "$checkout"/dist/*.whl)

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# As in root's home directory: a server that runs as another user cannot read its way to the environment.
mkdir -m 700 "$scratch/private"
mkdir -m 1777 "$scratch/tmp"
chmod 755 "$scratch"
bin=$scratch/private/venv/bin

"$VENV_PYTHON" -m venv "$scratch/private/venv"
"$bin/python" -m pip install -qq --constraint "$checkout/requirements/constraints.txt" "$wheel"

cd "$scratch/tmp"
run() {
    echo "\$ $*"
    env -i PATH="$bin:/usr/bin:/bin" TMPDIR="$scratch/tmp" LC_ALL=C.UTF-8 "$@"
}
run python -m pip check
run meshcache --version
run meshcache --help >/dev/null
run python - <<'PYTHON'
from importlib.metadata import version
from importlib.resources import files

import alembic
import meshcache_pg

package = files("meshcache_pg")
assert meshcache_pg.__version__ == version("meshcache-pg")
assert hasattr(alembic, "__version__"), "the wheel put a folder in front of the alembic library"
sql = [f"_sql/{folder}" for folder in ("migrations", "routines", "templates", "queries")]
for needed in ["py.typed", "_alembic/env.py", *sql]:
    found = package.joinpath(needed)
    assert found.is_file() or any(found.iterdir()), f"{needed} is missing from the wheel"
PYTHON
run meshcache demo

# The demo stops what it started.
"$VENV_PYTHON" - "$scratch" <<'PYTHON'
import sys

import psutil

commands = {p.pid: " ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])}
del commands[psutil.Process().pid]
left = [command for command in commands.values() if sys.argv[1] in command]
sys.exit(f"error: still running after the demo: {left}" if left else 0)
PYTHON
echo "the wheel works: $(basename "$wheel")"
