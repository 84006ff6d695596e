"""Where one private server lives between `start()` and `stop()`: its directories, account and lifeline."""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from meshcache_pg.embedded import reaper
from meshcache_pg.embedded.account import Account, default_account, make_base
from meshcache_pg.embedded.data_directory import claim
from meshcache_pg.embedded.installations import Installation
from meshcache_pg.embedded.lifeline import Lifeline
from meshcache_pg.embedded.relocation import reachable


@dataclass
class Place:
    """`base` goes when the server stops; `home` is what we made for the data, the same if they go too."""

    base: Path
    home: Path | None
    data_dir: Path
    account: Account
    programs: Installation
    temporary: bool
    lifeline: Lifeline
    port: int | None = None
    password: str = field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    segments: set[str] = field(default_factory=set)

    @classmethod
    def make(cls, installation: Installation, named: Path | None, *, keep: bool) -> Self:
        """Make the directories and start the watchdog that will remove them should we die."""
        account = claim(named, installation) if named else default_account()
        programs = reachable(installation, account)
        base = make_base(account)
        try:
            temporary = named is None and not keep
            # What is kept must not share a directory with what is removed.
            home = None if named else base if temporary else make_base(account)
            data_dir = named or _make_private((home or base) / "data", account)
            _make_private(base / "s", account)
            lifeline = Lifeline(reaper.Cluster(str(data_dir), temporary), remove=[str(base)])
        except BaseException:
            reaper.remove(str(base))
            raise
        return cls(base, home, data_dir, account, programs, temporary, lifeline)

    @property
    def cluster(self) -> reaper.Cluster:
        """The same in the words of the reaper."""
        return reaper.Cluster(str(self.data_dir), self.temporary)

    @property
    def socket_dir(self) -> Path:
        """Where the server makes its socket; its name is short because a socket's path may not be long."""
        return self.base / "s"

    @property
    def log(self) -> Path:
        """What the server says; next to the data, so that it is kept with them."""
        return self.data_dir / "server.log"

    def remove(self, *, failed: bool = False) -> None:
        """Remove what is temporary and let the watchdog go; of a failed start nothing is worth keeping."""
        if self.temporary:
            reaper.wipe_shared_memory(str(self.data_dir), self.segments)
        reaper.remove(str(self.base))
        if failed and self.home:
            reaper.remove(str(self.home))
        # Only now: whatever stops us before this line, Ctrl-C too, leaves the rest to the watchdog.
        self.lifeline.release()


def _make_private(directory: Path, account: Account) -> Path:
    directory.mkdir(mode=0o700)
    account.own(directory)
    return directory
