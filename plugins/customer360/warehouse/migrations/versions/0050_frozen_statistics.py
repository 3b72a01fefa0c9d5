"""The daily pass, as role transformer, freezes the day's population statistics."""

from alembic import op

revision = "0050"
down_revision = "0040"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("grant insert on state.population_statistics to transformer")
