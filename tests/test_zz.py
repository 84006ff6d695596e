import pytest
from tests.fixtures.fix_db import Database


def test_pack(installed):
    for r in installed.connect().execute(
        "select name, kind, coverage, key_columns, key_proved from meshcache.cached_view order by 1"
    ):
        print("PACK", r)


@pytest.mark.parametrize("schema", ["rental", "music", "trade"])
def test_corpus(answers, stocked, schema):
    for name, one in answers(schema).by_name.items():
        if one.refusal:
            print("REF", name, one.definition.coverage, str(one.refusal)[:200], "|", one.refusal.hint)
    for r in (
        stocked(schema)
        .connect()
        .execute(
            "select name, coverage, key_columns from meshcache.cached_view where not key_proved order by 1"
        )
    ):
        print("UNP", r)
