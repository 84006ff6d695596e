"""${message}: sql/migrations/${up_revision}_…"""

from alembic import op

from meshcache_pg.migrate import run_migration

NAME = "${up_revision}_"
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    """Run the up half of the SQL pair."""
    run_migration(op.get_bind(), NAME, "up")


def downgrade() -> None:
    """Run the down half of the SQL pair."""
    run_migration(op.get_bind(), NAME, "down")
