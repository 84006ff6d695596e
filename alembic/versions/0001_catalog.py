"""The logged catalog and the wildcard marks: sql/migrations/0001_catalog."""

from alembic import op

from meshcache_pg.migrate import run_migration

NAME = "0001_catalog"
revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create what sql/migrations/0001_catalog.up.sql creates."""
    run_migration(op.get_bind(), NAME, "up")


def downgrade() -> None:
    """Drop both schemas, and with them every trigger of the cache."""
    run_migration(op.get_bind(), NAME, "down")
