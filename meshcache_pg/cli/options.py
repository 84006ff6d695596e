"""Options and arguments that several verbs share, so that they read the same everywhere."""

from pathlib import Path
from typing import Annotated

import typer

DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Change nothing; print what would be done.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
NoFill = Annotated[
    bool, typer.Option("--no-fill", help="Leave it to the next sweep or refresh to fill them.")
]
Prune = Annotated[bool, typer.Option("--prune", help="Drop installed views that are not declared here.")]
MaxTime = Annotated[
    float | None,
    typer.Option("--max-time", metavar="SECONDS", min=0, help="Begin nothing new after so long."),
]
AllKeys = Annotated[
    bool, typer.Option("--all-keys", help="Fill every key of the source, not only stale ones.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A cached view or rollup.", show_default=False)]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME", help="Cached views or rollups.", show_default=False)
]
Key = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY", help="A value for each key column, in order.", show_default=False),
]
Tenant = Annotated[str | None, typer.Option("--tenant", metavar="VALUE", help="All rows of one tenant.")]
Whole = Annotated[bool, typer.Option("--all", help="The whole view.")]
Paths = Annotated[
    list[Path] | None,
    typer.Argument(
        metavar="PATH", exists=True, help="Definition files, or folders of them.", show_default=False
    ),
]
Meshhook = Annotated[
    bool, typer.Option("--meshhook", help="The definitions for MeshHook that come with this package.")
]
