"""The server's notation of parsed queries, with the characters that names and constants bring into it."""

from meshcache_pg.nodes import expressions, parse

RULE = (
    r"({QUERY :commandType 1 :hasAggs false :cteList <> :rtable ({RTE :eref {ALIAS :aliasname N\ m\"\(\{x"
    r' :colnames ("id" "a\ b" "")} :relid 16384 :inh true}) :targetList ({TARGETENTRY :expr {CONST'
    r" :constisnull false :constvalue 11 [ 44 0 0 0 58 41 ]} :resno 2 :resname :odd :resjunk false})"
    r" :setOperations {SETOP :colTypes (o 23 25)} :groupClause ({A :sub {QUERY :inner {B :x 1}}})})"
)


def test_fields_of_every_kind() -> None:
    (query,) = parse(RULE)
    assert query.label == "QUERY"
    assert query.number("commandType") == 1
    assert not query.flag("hasAggs")
    assert not query.has("cteList")
    assert query.has("rtable")
    operations = query.node("setOperations")
    assert operations is not None
    assert operations.numbers("colTypes") == [23, 25]


def test_names_with_characters_of_the_notation() -> None:
    (query,) = parse(RULE)
    alias = query.items("rtable")[0].node("eref")
    assert alias is not None
    assert alias.string("aliasname") == 'N m"({x'
    (target,) = query.items("targetList")
    assert target.string("resname") == ":odd"
    assert target.number("resno") == 2
    assert not target.flag("resjunk")


def test_a_missing_field_reads_like_an_empty_one() -> None:
    (query,) = parse(RULE)
    assert query.node("havingQual") is None
    assert query.items("windowClause") == []
    assert query.numbers("colTypes") == []
    assert query.number("limitOption") == 0
    assert query.string("ctename") == ""


def test_expressions_do_not_go_into_other_queries() -> None:
    (query,) = parse(RULE)
    assert [node.label for node in expressions(query.fields["groupClause"])] == ["A", "QUERY"]


def test_a_deep_expression_does_not_run_out_of_stack() -> None:
    deep = 5_000
    (top,) = parse("(" + "{OPEXPR :args (" * deep + ")}" * deep + ")")
    assert sum(1 for _ in expressions(top)) == deep
