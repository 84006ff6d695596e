"""meshcache, through its repository: the application writes its tables and does nothing else."""

from collections.abc import Sequence
from uuid import UUID

from benchmarks.contenders.application import Change, connect
from benchmarks.contenders.contender import Contender, Stage
from meshcache_pg.answers import Missing, Origin
from meshcache_pg.meshhook import WorkflowDefinition, WorkflowRepository
from meshcache_pg.timing import batches

# More than one fill takes would be left to the next reader.
_KEYS_PER_FILL = 100


class RepositoryClient:
    """Reads by WorkflowRepository.get."""

    def __init__(self, stage: Stage) -> None:
        self.hits = 0
        self._reading = stage.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._workflows = WorkflowRepository(stage.cache, self._reading)
        self._writing = connect(stage.dsn)

    def read(self, key: UUID) -> WorkflowDefinition | None:
        result = self._workflows.get(key)
        self.hits += result.origin is Origin.HIT
        return None if isinstance(result.value, Missing) else result.value

    def warm(self, keys: Sequence[UUID]) -> None:
        """Read all of them, so that they are filled."""
        for some in batches(keys, _KEYS_PER_FILL):
            self._workflows.get_many(some)

    def write(self, change: Change) -> None:
        with self._writing.transaction():
            change.apply(self._writing)

    def close(self) -> None:
        self._reading.close()
        self._writing.close()


class Meshcache(Contender):
    """On the cache of the stage."""

    title = "meshcache, repository"

    def __init__(self) -> None:
        self._stage: Stage | None = None

    def set_up(self, stage: Stage, keys: Sequence[UUID]) -> None:
        self._stage = stage
        # What was written before this contender's turn is not to be its burden.
        stage.cache.sweep()
        client = self.client()
        client.warm(keys)
        client.close()

    def client(self) -> RepositoryClient:
        if self._stage is None:
            raise RuntimeError("set_up comes first")
        return RepositoryClient(self._stage)

    def tear_down(self) -> None:
        """The cache stays as it is: it is the stage's."""
