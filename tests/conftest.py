"""Loads the fixtures, one plugin per topic: fixtures/fix_<topic>.py."""

from pathlib import Path

import pytest

# Before one of them imports another: pytest can rewrite the asserts of a module only while loading it.
pytest.register_assert_rewrite("tests.fixtures", "tests.consistency")

pytest_plugins = [
    f"tests.fixtures.{path.stem}" for path in sorted(Path(__file__).parent.glob("fixtures/fix_*.py"))
]
