"""Which models a measured run spent its time in."""

from __future__ import annotations

from customer360 import warehouse
from customer360.settings import Settings


def slowest_models(settings: Settings, run_id: int, count: int = 8) -> dict[str, float]:
    """Seconds of a run's slowest models, the slowest first."""
    with warehouse.connect("owner", settings) as connection:
        return dict(
            connection.execute(
                "select model, round(seconds::numeric, 2)::float from ops.model_runs where run_id = %s"
                " order by seconds desc limit %s",
                [run_id, count],
            ).fetchall()
        )
