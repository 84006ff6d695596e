"""Guards the shape of the package: sizes, docstrings and the traps of its layout."""

import ast
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import meshcache_pg

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "meshcache_pg"
MODULES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES = 400


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_version_is_the_one_that_is_installed() -> None:
    assert meshcache_pg.__version__ == version("meshcache-pg"), "pyproject.toml and __init__.py disagree"


def test_package_is_marked_as_typed() -> None:
    assert (PACKAGE / "py.typed").is_file()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_says_why_it_exists(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_every_module_is_small_enough_to_read_at_once(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


def test_folder_of_revisions_is_not_a_package() -> None:
    assert not (ROOT / "alembic" / "__init__.py").exists(), "it would hide the alembic library"


def test_alembic_is_the_library_when_started_in_the_checkout() -> None:
    program = "import alembic, sys; sys.exit(not hasattr(alembic, '__version__'))"
    # The directory of the caller comes first on the path of `python -c`.
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0


def test_scripts_of_the_makefile_can_be_executed() -> None:
    scripts = [ROOT / ".ci" / "run", *(ROOT / ".ci").glob("*.sh")]
    assert [name(script) for script in scripts if not os.access(script, os.X_OK)] == []
