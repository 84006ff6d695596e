"""Everything this package raises on purpose, so that callers catch by meaning and never by message.

    MeshcacheError            exit code 1
    ├── ConfigurationError    3  a setting or a DSN is missing or wrong
    ├── ConnectionFailed      3  no connection to PostgreSQL
    ├── DefinitionError          a cached view or rollup is not declared as it must be
    ├── InvalidKey               a key (or filter) that the cached view cannot have
    ├── PlanRefused              the declared state cannot be reached safely from the installed one
    ├── NotInstalled             this database has no meshcache schema, or an older one
    ├── LockBusy              5  another process does this work at this moment
    ├── DriftFound            4  the database differs from what was declared or cached
    ├── UnsupportedServer        this server lacks what the cache needs
    ├── MissingRight             the role may not do what was asked
    └── EmbeddedServerError      the private PostgreSQL did not start or stop

The message says what is wrong and where, the hint what to do about it. Functions in the database raise the
same meanings as SQLSTATEs of class MC, and `from_sqlstate` is the one place that translates them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Final


class MeshcacheError(Exception):
    """Base of all errors of this package; `str()` is the message alone, the advice is in `hint`."""

    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ConfigurationError(MeshcacheError):
    """A setting, a DSN or a command-line value is missing or wrong."""

    exit_code = 3


class ConnectionFailed(MeshcacheError):
    """PostgreSQL cannot be reached or does not let this role in."""

    exit_code = 3


class DefinitionError(MeshcacheError):
    """A cached view or rollup is not declared as it must be."""


class InvalidKey(MeshcacheError):
    """A key, filter, limit or offset that the cached view cannot be asked for; the transaction stays
    usable.
    """


class PlanRefused(MeshcacheError):
    """The declared state cannot be reached safely from the installed one."""


class NotInstalled(MeshcacheError):
    """This database has no meshcache schema, or one of another version."""


class LockBusy(MeshcacheError):
    """Another process does this work at this moment; trying again later is fine."""

    exit_code = 5


class DriftFound(MeshcacheError):
    """The database differs from what was declared, or a cached row from its source."""

    exit_code = 4


class UnsupportedServer(MeshcacheError):
    """This server lacks something that the cache cannot do without."""


class MissingRight(MeshcacheError):
    """The role may not do what was asked."""


class EmbeddedServerError(MeshcacheError):
    """The private PostgreSQL of the demo and the tests did not start or stop."""


SQLSTATES: Final[Mapping[str, type[MeshcacheError]]] = MappingProxyType(
    {
        "MC001": DefinitionError,  # no cached view of that name
        "MC002": DefinitionError,  # no cached view depends on that table
        "MC003": ConfigurationError,  # another isolation level than READ COMMITTED
        "MC004": LockBusy,  # a fill inside a savepoint
        "MC005": DefinitionError,  # no such refresh mode
        "MC006": NotInstalled,  # the cache table is gone: apply again
        "MC007": LockBusy,  # another transaction is changing definitions
    }
)


def from_sqlstate(sqlstate: str | None, message: str, *, hint: str | None = None) -> MeshcacheError | None:
    """Return the error that a SQLSTATE of class MC stands for; None means that it is not ours to translate.

    A code of our class that this version does not know (the database may be newer) gives the base class.
    """
    if sqlstate is None or not sqlstate.startswith("MC"):
        return None
    return SQLSTATES.get(sqlstate, MeshcacheError)(message, hint=hint)
