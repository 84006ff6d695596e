"""The errors keep their promises: hints apart, exit codes as documented, one translation of SQLSTATEs."""

import pickle

import pytest

from meshcache_pg import errors
from meshcache_pg.errors import SQLSTATES, LockBusy, MeshcacheError, from_sqlstate

SUBCLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, MeshcacheError) and value is not MeshcacheError
]


def test_text_of_an_error_is_its_message_and_the_hint_stands_apart() -> None:
    error = LockBusy("a sweep is running", hint="try again later")
    assert str(error) == "a sweep is running"
    assert error.hint == "try again later"
    assert MeshcacheError("no advice").hint is None


def test_an_error_survives_the_way_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(LockBusy("a sweep is running", hint="try again later")))  # noqa: S301
    assert isinstance(error, LockBusy)
    assert (str(error), error.hint) == ("a sweep is running", "try again later")


@pytest.mark.parametrize("error", SUBCLASSES)
def test_tree_in_the_docstring_is_complete(error: type[MeshcacheError]) -> None:
    (line,) = [line for line in (errors.__doc__ or "").splitlines() if f"─ {error.__name__} " in line]
    code = line.split(error.__name__)[1].split()[0]
    assert error.exit_code == (int(code) if code.isdigit() else MeshcacheError.exit_code)


def test_codes_of_others_are_not_translated() -> None:
    assert from_sqlstate(None, "connection lost") is None
    assert from_sqlstate("40001", "could not serialize access") is None


def test_every_code_of_ours_has_its_class() -> None:
    for sqlstate, expected in SQLSTATES.items():
        error = from_sqlstate(sqlstate, "message", hint="hint")
        assert type(error) is expected
        assert error.hint == "hint"


def test_a_code_from_a_newer_database_gives_the_base_class() -> None:
    assert type(from_sqlstate("MCZZZ", "message")) is MeshcacheError
