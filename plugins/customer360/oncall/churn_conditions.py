"""What on-call must know of the churn model."""

from __future__ import annotations

from collections.abc import Iterator

from customer360.oncall.conditions import Finding, View, condition

_WHY = {
    "behind_a_fallback": "ranks or predicts worse than a fallback",
    "drift": "predicts another churn rate than the one that came",
}


@condition("churn_model_kept")
def churn_model_kept(view: View) -> Iterator[Finding]:
    """The newest fit of the churn model was not promoted: what was good before serves on, and ages."""
    if not view.rows("select to_regclass('marts.churn_model_versions') is not null as found")[0]["found"]:
        return
    for row in view.rows(
        """
        select v.model_version, v.decision, v.why, v.tested_on, e.auc, e.mean_predicted, e.churn_rate,
            (select max(model_version) from marts.churn_model_versions where is_serving) as serving_version
        from marts.churn_model_versions as v
        left join marts.churn_model_evaluation as e
            on e.model_version = v.model_version and e.model = 'primary' and e.segment = 'all'
        where v.model_version = (select max(model_version) from marts.churn_model_versions)
            and v.decision in ('behind_a_fallback', 'drift')
        """
    ):
        serving = f"version {row['serving_version']}" if row["serving_version"] else "the baseline"
        yield Finding(
            "churn_model_kept",
            "churn_model_kept",
            "warning",
            f"Churn model version {row['model_version']} {_WHY[row['decision']]}: {serving} serves on",
            "c360 churn evaluate",
            ("marts.customer_churn",),
            {name: row[name] for name in ("model_version", "decision", "why", "auc", "mean_predicted", "churn_rate")},
        )
