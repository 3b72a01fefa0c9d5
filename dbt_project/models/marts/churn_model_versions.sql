{{ config(
    tags=['daily', 'churn'],
    meta={'primary_key': ['model_version']}
) }}

select
    model_version,
    fitted_at,
    as_of_on,
    requested_horizon_days::bigint as requested_horizon_days,
    horizon_days::bigint as horizon_days,
    cardinality(snapshots)::bigint as snapshot_count,
    snapshots[1] as first_snapshot_on,
    snapshots[cardinality(snapshots)] as tested_on,
    status,
    bgnbd_status,
    gammagamma_status,
    decision,
    model,
    why,
    fallback,
    coalesce(test_day_count, (cardinality(snapshots) > 0)::integer)::bigint as test_day_count,
    auc_mean,
    auc_spread,
    brier_mean,
    brier_spread,
    value_status,
    value_window_days::bigint as value_window_days,
    value_coverage,
    value_coverage_one_time,
    value_r_squared,
    value_r_squared_gammagamma,
    array_to_string(families, ', ') as families,
    coalesce(model_version = max(model_version) filter (where decision = 'promoted') over (), false) as is_serving
from (
    {{ known_churn_versions() }}
) as versions
