"""The verb explain: is this worth caching, why does what make it stale, and what does it cost?"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from meshcache_pg.cli.options import Meshhook
from meshcache_pg.cli.run import Run, WrongUsage
from meshcache_pg.errors import DefinitionError, MissingRight

if TYPE_CHECKING:
    from meshcache_pg.definition import Definition
    from meshcache_pg.explain import Dependency, Explanation
    from meshcache_pg.write_costs import WriteCost

FAILED = 1
_NAME = re.compile(r"[a-z][a-z0-9_]*\Z")


def explain(
    ctx: typer.Context,
    views: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|PATH",
            help="Installed views; definition files, or folders of them.",
            show_default=False,
        ),
    ] = None,
    *,
    meshhook: Meshhook = False,
    no_measure: Annotated[
        bool, typer.Option("--no-measure", help="Read the catalog only, no rows, and time nothing.")
    ] = False,
) -> int:
    """Tell why what makes a view's rows stale, what that costs, and whether it is worth caching."""
    run: Run = ctx.obj
    if bool(views) == meshhook:
        raise WrongUsage("explain does not know what", hint="Give names, files or folders, or --meshhook.")
    found: list[Explanation] = []
    refused: list[dict[str, Any]] = []
    chosen = list(_chosen(views or []))
    with run.cache() as cache, run.out.progress("explaining", len(chosen)) as begin:
        for name, view in chosen:
            begin(name)
            try:
                found.append(cache.explain(view, measure=not no_measure))
            except (DefinitionError, MissingRight) as error:
                if len(chosen) == 1:
                    raise
                refused.append({"name": name, "message": str(error), "hint": error.hint})
    data = {"views": [_as_data(one) for one in found], "refused": refused}
    run.out.result(data, lambda: _show(run, found))
    for one in refused:
        run.out.error(one["message"], one["hint"])
    return FAILED if refused else 0


def _chosen(views: list[str]) -> Iterator[tuple[str, "str | Definition"]]:
    """Each view by its name: what looks like a name is one, everything else a path; nothing is the pack."""
    from meshcache_pg.definition import load

    if not views:
        from meshcache_pg.meshhook import pack

        yield from ((one.name, one) for one in pack())
    for view in views:
        if _NAME.match(view):
            yield view, view
        else:
            yield from ((one.name, one) for one in load([Path(view)]))


def _as_data(one: "Explanation") -> dict[str, Any]:
    verdict = {"verdict": one.verdict.word, "reason": one.verdict.reason, "factor": one.verdict.factor}
    data: dict[str, Any] = _rounded(asdict(one) | verdict)
    for cost in data["writes"]:
        for added in cost["measured"]:
            added["added_us"] = round(max(added["with_us"] - added["without_us"], 0.0), 4)
    return data


def _rounded(value: Any) -> Any:
    """Figures with no more digits than they are worth."""
    match value:
        case float():
            return round(value, 4)
        case dict():
            return {name: _rounded(one) for name, one in value.items()}
        case list() | tuple():
            return [_rounded(one) for one in value]
    return value


def _show(run: Run, found: list["Explanation"]) -> None:
    for number, one in enumerate(found):
        if number:
            run.out.text("")
        _show_one(run, one)


def _show_one(run: Run, one: "Explanation") -> None:
    what = "rollup" if one.kind == "rollup" else (one.coverage or "").replace("_", " ")
    run.out.text(f"{one.name}: {what}, key {', '.join(one.key)}, {one.state}")
    if one.dependencies:
        heads = ("depends on", "kind", "column", "leads to", "when these change")
        _table(run, heads, [_dependency(d) for d in one.dependencies])
        run.out.text("\n" + "\n".join(_why(d) for d in one.dependencies))
        _table(run, ("marks of", "go to", "shared with"), list(_marks(one)))
        heads = ("a write to", "triggers", "marks per row", "per statement", "other updates")
        times = [f"{word} µs" for word in ("insert", "update", "delete")]
        _table(run, (*heads, *times), [_costs(w) for w in one.writes], right=(*heads[2:4], *times))
    else:
        run.out.text("\nNo table gets a trigger: a rollup is as old as its last refresh.")
    if one.reads is not None:
        heads = ("read", "source ms", "hit ms", "miss ms", "source / hit")
        _table(run, heads, list(_reads(one)), right=heads[1:])
    run.out.text("")
    for reason in one.not_measured:
        run.out.text(f"not measured: {reason}")
    run.out.text(f"verdict: {one.verdict.word or 'unknown'}: {one.verdict.reason}")


def _table(run: Run, heads: Sequence[str], rows: list[tuple[str, ...]], right: Sequence[str] = ()) -> None:
    run.out.text("")
    run.out.table(heads, rows, right=right)


def _dependency(one: "Dependency") -> tuple[str, ...]:
    return (
        one.table,
        one.kind,
        ", ".join(one.columns),
        ", ".join((*one.via, *one.view_columns)),
        "any" if one.matter is None else ", ".join(one.matter),
    )


def _why(one: "Dependency") -> str:
    if not one.columns:
        return f"{one.table} flush: {one.why}"
    finer = {"carried": "not by key", "linked": "not by a carried column"}.get(one.kind, "")
    return f"{one.table}: {one.why}" + (f" ({finer}: {one.hindrance})" if one.hindrance else "")


def _marks(one: "Explanation") -> Iterator[tuple[str, ...]]:
    for cost in one.writes:
        for mark in cost.marks:
            yield (
                f"{cost.table} ({', '.join(mark.columns)})",
                mark.name or "a new table",
                ", ".join(mark.shared_with),
            )
        if cost.flush:
            yield f"{cost.table} (any change)", "meshcache.wildcard_mark", ""


def _costs(cost: "WriteCost") -> tuple[str, ...]:
    """The most that a write leaves, and what the triggers add to a statement on one row."""
    triggers = "there already" if cost.other_views else "2 a statement"
    if cost.partitions:
        triggers += f", {cost.partitions} partitions"
    times = [f"+{one.added_us:.0f}" for one in cost.measured] or [""] * 3
    return (
        cost.table,
        triggers,
        f"{cost.marks_per_row}, updated {cost.marks_per_updated_row}",
        f"{cost.marks_per_statement:,}",
        cost.unrelated_update,
        *times,
    )


def _reads(one: "Explanation") -> Iterator[tuple[str, ...]]:
    reads = one.reads
    if reads is None:
        return
    by_key = "by key" if reads.basis == "cache" else "by key, estimated"
    miss = "" if reads.miss_ms is None else f"{reads.miss_ms:.3f}"
    yield by_key, f"{reads.source_ms:.3f}", f"{reads.hit_ms:.3f}", miss, f"{reads.factor:.1f}x"
    if reads.list is not None:
        listed = reads.list
        title = f"{listed.rows:,.0f} rows by {listed.tenant}"
        yield title, f"{listed.source_ms:.3f}", f"{listed.hit_ms:.3f}", "", f"{listed.factor:.1f}x"
