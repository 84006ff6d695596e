"""`verify --live`: what it shows while it runs, when it ends by itself, and when somebody ends it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from meshcache_pg.cli.values import cell, counted

if TYPE_CHECKING:
    from meshcache_pg.cache import MeshCache
    from meshcache_pg.cli.run import Run
    from meshcache_pg.live_check import LiveDifference, LiveReport

DRIFT, INTERRUPTED = 4, 130

COUNTS = ("compared", "hits", "stale", "misses", "bypassed", "absent", "different")


def verify_live(
    run: "Run",
    cache: "MeshCache",
    names: list[str],
    *,
    seconds: float | None,
    reads: int | None,
    rate: float,
    repair: bool,
) -> int:
    """Run it and print what it found. A difference counts for more than that it was interrupted."""
    latest: LiveReport | None = None
    interrupted = False
    with run.out.status("verifying") as show:

        def progress(report: "LiveReport") -> None:
            nonlocal latest
            latest = report
            show(
                f"verifying: {counted(report.total('compared'), 'read')}, {report.total('hits'):,} hits,"
                f" {report.total('different'):,} different, {report.seconds:.0f} s"
            )

        try:
            latest = cache.verify_live(
                names,
                seconds=seconds,
                reads=reads,
                rate=rate,
                repair=repair,
                values=run.verbose,
                progress=progress,
            )
        except KeyboardInterrupt:
            if latest is None:
                raise
            interrupted = True
    report = latest
    run.out.result(
        _as_data(report, interrupted=interrupted), lambda: _show(run, report, interrupted=interrupted)
    )
    if not report.equal:
        return DRIFT
    return INTERRUPTED if interrupted else 0


def _as_data(report: "LiveReport", *, interrupted: bool) -> dict[str, Any]:
    return {
        "live": True,
        "equal": report.equal,
        "ended": "interrupted" if interrupted else report.ended,
        "seconds": round(report.seconds, 3),
        **{count: report.total(count) for count in COUNTS},
        "bound": report.bound,
        "hit_bound": report.hit_bound,
        "skipped_rounds": report.skipped,
        "left_out": report.left_out,
        "views": report.views,
        "differences": report.differences,
    }


def _show(run: "Run", report: "LiveReport", *, interrupted: bool) -> None:
    if not run.quiet or not report.equal:
        heads = ("name", *COUNTS)
        rows = [(view.name, *(f"{getattr(view, count):,}" for count in COUNTS)) for view in report.views]
        run.out.table(heads, rows, right=COUNTS)
    for difference in report.differences:
        run.out.warn(_sentence(difference))
        for answer in difference.answers:
            for column, pair in answer.get("values", {}).items():
                run.out.warn(
                    f"  {answer['reader']}, {column}: {cell(pair['cache'])} in the cache,"
                    f" {cell(pair['source'])} in the source"
                )
    for name, where in report.left_out.items():
        run.out.say(f"{name}: no {' or '.join(where)} keys were taken: looking for them takes too long there")
    if report.skipped:
        run.out.say(f"{counted(report.skipped, 'round')} given up: a lock, or too slow")
    run.out.say(bounds(report))
    if not report.equal:
        run.out.say("meshcache plan PATH shows whether triggers are missing; --repair makes such rows stale")
    elif report.ended == "no keys" and not interrupted:
        run.out.say("no view has a key: nothing is cached, and the source is empty")


def bounds(report: "LiveReport") -> str:
    """What the counts say of reads that were not compared."""
    compared, hits = report.total("compared"), report.total("hits")
    head = f"{report.total('different'):,} of {counted(compared, 'read')} differ"
    if report.bound is None:
        return head
    of_hits = (
        f"of the {counted(hits, 'hit')} less than {_percent(report.hit_bound)}"
        if report.hit_bound is not None
        else "there was no hit among them"
    )
    return (
        f"{head}: with 95 % confidence less than {_percent(report.bound)} of such reads are wrong, {of_hits}"
    )


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %" if share < 1 else "100 %"


def _sentence(difference: "LiveDifference") -> str:
    key = ", ".join(f"{k}={cell(v)}" for k, v in difference.key.items())
    answers: dict[str, list[str]] = {}
    for answer in difference.answers:
        columns = ", ".join(answer["columns"])
        answers.setdefault(answer["problem"] + (f" in {columns}" if columns else ""), []).append(
            answer["reader"]
        )
    what = "; ".join(f"{problem} ({', '.join(readers)})" for problem, readers in answers.items())
    filled = (
        f"filled by {difference.filled_by} in {difference.filled_in}"
        if difference.filled_by is not None
        else "not cached"
    )
    marks = ", ".join(_mark(mark) for mark in difference.marks) or "none"
    end = {None: "", True: "; made stale, and now equal", False: "; made stale, and still different"}
    return (
        f"{difference.name} ({key}): {what}; snapshot {difference.snapshot}; {filled};"
        f" marks: {marks}{end[difference.repaired]}"
    )


def _mark(mark: Mapping[str, Any]) -> str:
    columns = f"({', '.join(mark['columns'])})" if mark["columns"] else " as a whole"
    seen = "in the fill" if mark["in_fill"] else "after the fill"
    return f"{mark['source'] or 'the view'}{columns} by {mark['xid']} {seen}"
