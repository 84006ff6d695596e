"""What a run was made on: figures mean little without it."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import psycopg

PACKAGES: Final = (
    "psycopg",
    "SQLAlchemy",
    "orjson",
    "redis",
    "hiredis",
    "pymemcache",
    "Django",
    "dogpile.cache",
)


def describe(server_dsn: str) -> dict[str, Any]:
    """Processor, memory, system, server and packages."""
    with psycopg.connect(server_dsn) as connection:
        version = connection.execute("show server_version").fetchone()
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "postgresql": str(version[0]).split(" ")[0] if version else "unknown",
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def _processor() -> str:
    about = Path("/proc/cpuinfo")
    if about.exists():
        for line in about.read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
