"""Write-through by triggers: whoever changes a row of the source computes the rows anew that show it.

With the same race as the twin: a trigger sees what its transaction sees.
"""

from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from benchmarks.contenders.tables import KeptTable

_TRIGGERS: Final[LiteralString] = """
create function {of_workflow}() returns trigger language plpgsql as $body$
begin
    if tg_op = 'DELETE' then
        delete from {table} as t where t.id = old.id;
    else
        {store_workflow};
    end if;
    return null;
end $body$;
create trigger bench_write_through after insert or update or delete on workflow_definitions
for each row execute function {of_workflow}();

create function {of_project}() returns trigger language plpgsql as $body$
begin
    {store_project};
    return null;
end $body$;
create trigger bench_write_through after update of name on projects
for each row execute function {of_project}()
"""


class WriteThrough(KeptTable):
    """Kept by row triggers, written by hand for this one SELECT."""

    title = "write-through triggers, by hand"
    schema = "bench_write_through"

    def create(self, connection: psycopg.Connection[Any]) -> None:
        super().create(connection)
        connection.execute(
            sql.SQL(_TRIGGERS).format(
                table=self.table,
                of_workflow=sql.Identifier(self.schema, "of_workflow"),
                of_project=sql.Identifier(self.schema, "of_project"),
                store_workflow=self.store(sql.SQL("s.id = new.id")),
                store_project=self.store(sql.SQL("s.project_id = new.id")),
            )
        )
