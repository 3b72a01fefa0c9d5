{{ config(
    tags=['daily', 'churn'],
    meta={'primary_key': ['model_version', 'model', 'segment']}
) }}

select
    model_version,
    model,
    segment,
    customer_count,
    churn_rate,
    mean_predicted,
    auc,
    auc_low,
    auc_high,
    brier,
    brier_skill,
    log_loss,
    ece,
    top_decile_lift,
    top_decile_lift_ceiling,
    auc_difference,
    auc_difference_low,
    auc_difference_high,
    compared_with,
    calibration_bins
from {{ source('state', 'churn_model_evaluation') }}
inner join (
    {{ known_churn_versions() }}
) as versions using (model_version)
