{{ config(
    tags=['daily', 'churn'],
    meta={'primary_key': ['model_version', 'model', 'segment']}
) }}

select
    evaluated.model_version,
    evaluated.model,
    evaluated.segment,
    evaluated.customer_count,
    evaluated.churn_rate,
    evaluated.mean_predicted,
    evaluated.auc,
    evaluated.auc_low,
    evaluated.auc_high,
    evaluated.brier,
    evaluated.brier_skill,
    evaluated.log_loss,
    evaluated.ece,
    evaluated.top_decile_lift,
    evaluated.top_decile_lift_ceiling,
    evaluated.auc_difference,
    evaluated.auc_difference_low,
    evaluated.auc_difference_high,
    evaluated.brier_difference,
    evaluated.brier_difference_low,
    evaluated.brier_difference_high,
    evaluated.compared_with,
    evaluated.calibration_bins
from {{ source('state', 'churn_model_evaluation') }} as evaluated
inner join (
    {{ known_churn_versions() }}
) as versions on versions.model_version = evaluated.model_version
