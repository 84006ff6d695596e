"""Refuses a SELECT that asks for anything else than tables: the clock, chance, whoever is asking, functions
whose tables nobody sees. A cached row is one answer for everybody, and only a write makes it another.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, text
from sqlalchemy.engine import Row

from meshcache_pg.definition import Definition
from meshcache_pg.errors import DefinitionError
from meshcache_pg.sql import query

FUNCTIONS: Final = re.compile(r":(?:funcid|opfuncid|winfnoid|aggfnoid) (\d+)")
_RELATIONS = re.compile(r":relid (\d+)")
_VALUE = re.compile(r"\{SQLVALUEFUNCTION :op (\d+)")

_ASK_LATER = "Return the column that is compared, and filter in the query on the live view."


@dataclass(frozen=True, slots=True)
class Reason:
    """What a call is about, as an end of "the SELECT …", and the way out. `allow` is the word of the header
    that lets a definition mean it; a cached view cannot mean all that a rollup can.
    """

    words: str
    hint: str
    allow: str | None = None


CLOCK: Final = Reason(
    "asks for the time, which goes on without any write",
    "Return the moment, and compare it with the time in the query on the live view; a rollup may say --"
    " allow: clock",
    "clock",
)
CHANCE: Final = Reason(
    "draws by chance, and no two readers would get the same",
    "Leave it to the query on the live view, or write what was drawn to a table.",
)
USER: Final = Reason("depends on the user that asks", _ASK_LATER)
SETTINGS: Final = Reason("depends on the settings of the session that asks", _ASK_LATER)
CONNECTION: Final = Reason("depends on the connection that asks", _ASK_LATER)
TRANSACTION: Final = Reason("depends on the transaction that asks", _ASK_LATER)
SEQUENCE: Final = Reason(
    "asks a sequence, which moves on without any write to a table",
    "Leave it away, or read the column that was filled from it.",
)
SERVER: Final = Reason(
    "asks for the state of the server, which no trigger can watch",
    "Ask for it in the query on the live view.",
)
ELSEWHERE: Final = Reason(
    "reads what its arguments name, which no trigger can watch", "Name the tables in the SELECT itself."
)
VOLATILE: Final = Reason(
    "calls a volatile function, which may give another answer each time",
    "Declare it immutable if it depends on its arguments alone, or call it in the query on the live view.",
)
OPAQUE: Final = Reason(
    "calls a function that may read tables, and does not show which",
    "Declare it immutable if it reads none; else write its SELECT in its place, or declare -- depends:"
    " lines for all tables, its own too, and -- allow: functions",
    "functions",
)

_NAMES: Final[Mapping[Reason, str]] = MappingProxyType(
    {
        CLOCK: """
            now transaction_timestamp statement_timestamp clock_timestamp timeofday pg_sleep pg_sleep_for
            pg_sleep_until
        """,
        CHANCE: """
            random random_normal setseed gen_random_uuid gen_random_bytes uuidv4 uuidv7 uuid_generate_v4
        """,
        USER: """
            current_user session_user system_user getpgusername pg_has_role has_table_privilege
            has_any_column_privilege has_column_privilege has_schema_privilege has_database_privilege
            has_function_privilege has_sequence_privilege has_language_privilege has_server_privilege
            has_tablespace_privilege has_type_privilege row_security_active
        """,
        SETTINGS: """
            current_setting set_config current_schema current_schemas current_database pg_client_encoding
        """,
        CONNECTION: """
            pg_backend_pid inet_client_addr inet_client_port inet_server_addr inet_server_port current_query
            pg_my_temp_schema pg_is_other_temp_schema pg_listening_channels pg_trigger_depth
        """,
        TRANSACTION: """
            txid_current txid_current_if_assigned txid_current_snapshot pg_current_xact_id txid_status
            pg_current_xact_id_if_assigned pg_current_snapshot pg_visible_in_snapshot pg_export_snapshot
            pg_xact_status pg_xact_commit_timestamp pg_last_committed_xact
        """,
        SEQUENCE: "nextval currval lastval setval pg_sequence_last_value pg_get_sequence_data",
        SERVER: """
            pg_relation_size pg_table_size pg_total_relation_size pg_indexes_size pg_database_size
            pg_tablespace_size pg_postmaster_start_time pg_conf_load_time pg_is_in_recovery
            pg_current_wal_lsn pg_current_wal_insert_lsn pg_current_wal_flush_lsn pg_last_wal_receive_lsn
            pg_last_wal_replay_lsn pg_last_xact_replay_timestamp pg_stat_file pg_ls_dir pg_read_file
            pg_read_binary_file version
        """,
        ELSEWHERE: """
            query_to_xml table_to_xml schema_to_xml database_to_xml cursor_to_xml query_to_xmlschema
            query_to_xml_and_xmlschema table_to_xml_and_xmlschema schema_to_xml_and_xmlschema
            database_to_xml_and_xmlschema dblink lo_get loread
        """,
    }
)
_BY_NAME: Final = {name: reason for reason, names in _NAMES.items() for name in names.split()}
# Only one of several functions of this name looks at the clock, or at the transaction.
_BY_TEXT: Final = {
    "age(timestamp without time zone)": CLOCK,
    "age(timestamp with time zone)": CLOCK,
    "age(xid)": TRANSACTION,
}
# SQLValueFunctionOp of the server, in its order.
_VALUES: Final = (
    *(("current_date", CLOCK), ("current_time", CLOCK), ("current_time", CLOCK)),
    *(("current_timestamp", CLOCK), ("current_timestamp", CLOCK)),
    *(("localtime", CLOCK), ("localtime", CLOCK), ("localtimestamp", CLOCK), ("localtimestamp", CLOCK)),
    *(("current_role", USER), ("current_user", USER), ("user", USER), ("session_user", USER)),
    *(("current_catalog", SETTINGS), ("current_schema", SETTINGS)),
)


def check(connection: Connection, definition: Definition, trees: Iterable[str]) -> frozenset[int]:
    """Raise DefinitionError where the SELECT asks for more than tables, and the definition does not say that
    it is meant. `trees` are the parsed views of facts.trees.

    Returns the functions that were judged here, by oid.
    """
    parsed = list(trees)
    oids = {"oids": sorted(_numbers(_RELATIONS, parsed))}
    catalogs = connection.scalars(text(query("calls", "catalogs")), oids).all()
    if catalogs and definition.kind == "cached_view":
        raise DefinitionError(
            f"{definition.name}: the SELECT reads the system catalog {catalogs[0]},"
            " which no trigger can watch",
            hint="System catalogs cannot be sources.",
        )
    rows = connection.execute(
        text(query("calls", "functions")), {"oids": sorted(_numbers(FUNCTIONS, parsed))}
    ).all()
    found = [(row.text, reason, row) for row in rows if (reason := _reason(row)) is not None]
    values = [(*_VALUES[number], None) for number in sorted(_numbers(_VALUE, parsed))]
    for said, reason, row in [*values, *found]:
        if reason.allow is None or reason.allow not in definition.allow:
            reads = f", which reads {row.reads}" if row is not None and row.reads else ""
            raise DefinitionError(
                f"{definition.name}: the SELECT {reason.words}: {said}{reads}", hint=reason.hint
            )
    return frozenset(row.oid for _, _, row in found)


def _numbers(pattern: re.Pattern[str], trees: Iterable[str]) -> Iterator[int]:
    yield from {int(number) for tree in trees for number in pattern.findall(tree)}


def _reason(row: Row[Any]) -> Reason | None:
    """Why a function cannot be called; None where nothing is wrong with it."""
    if row.is_built_in:
        by_name = _BY_TEXT.get(row.text) or _BY_NAME.get(row.name)
        return by_name or (VOLATILE if row.is_volatile else None)
    if not (row.is_volatile or row.is_stable):
        return OPAQUE if row.reads else None
    if row.has_text and row.asks_session:
        return USER
    if row.has_text and row.is_stable:
        return OPAQUE
    # Of an extension, in C: a stable one is judged by its arguments, as the server's own.
    return _BY_NAME.get(row.name) or (OPAQUE if row.reads else VOLATILE if row.is_volatile else None)
