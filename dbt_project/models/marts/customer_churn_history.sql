{{ config(
    tags=['daily', 'churn'],
    meta={'primary_key': ['customer_key', 'as_of_on']},
    pre_hook="{{ record_churn_history() }}"
) }}

-- Depends on the day's scores: {{ ref('customer_churn') }}
-- Rows of keys that were merged away stay in the journal and leave marts, as all rows of such customers do.
select
    history.customer_key,
    as_of_on,
    recorded_at,
    model_version,
    model_status,
    churn_probability,
    churn_band,
    is_late_vs_own_cadence,
    expected_value_365_amount
from {{ source('state', 'customer_churn_history') }} as history
inner join {{ source('identity', 'customers') }} using (customer_key)
where as_of_on <= {{ as_of_on() }}
    {%- if is_as_of() %} and recorded_at <= {{ known_until() }} {%- endif %}
