"""The assets that tie the DAGs together. An asset has the name of the table or the place that it stands for."""

from __future__ import annotations

from airflow.sdk import Asset, AssetWatcher

from customer360.airflow.landing_trigger import LandingTrigger
from customer360.contract.feeds import FEEDS

RAW = {feed: Asset(f"raw.{feed}", group="raw") for feed in FEEDS}
LANDED = {
    feed: Asset(
        f"landing.{feed}",
        group="landing",
        watchers=[AssetWatcher(name=f"landing_{feed}", trigger=LandingTrigger(feed=feed))],
    )
    for feed in FEEDS
}
MARTS = Asset("marts", group="marts")
# Says that today's daily tables are still to be made; carries no data.
DAILY_DUE = Asset("ops.daily_due", group="ops")
# Says that the churn model can be fitted for the first time, or with a longer horizon; carries no data.
FIT_DUE = Asset("ops.fit_due", group="ops")
