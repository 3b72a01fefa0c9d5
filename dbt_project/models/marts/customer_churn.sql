{{ config(
    tags=['daily', 'churn'],
    meta={'primary_key': ['customer_key']}
) }}

{%- set families = ['recency', 'frequency', 'value', 'order_quality', 'sessions', 'tickets'] %}

with bands as (
    select
        max(value) filter (where parameter = 'churn_band_medium_from') as medium_from,
        max(value) filter (where parameter = 'churn_band_high_from') as high_from
    from (
        select distinct on (parameter) parameter, value
        from {{ ref('loyalty_parameters') }}
        where valid_from <= {{ as_of_on() }}
        order by parameter, valid_from desc
    ) as in_force
),

-- The newest fit says why something else than a regression of its own serves.
newest_fit as (
    select
        case when status = 'fitted' then decision else status end as reason
    from (
        {{ known_churn_versions() }}
    ) as versions
    order by model_version desc
    limit 1
),

customers as (
    select
        known.customer_key,
        featured.purchase_day_count,
        featured.is_one_time,
        featured.recency_days,
        featured.expected_gap_days,
        featured.overdue_ratio,
        scored.model_version,
        scored.horizon_days,
        -- Who has not ordered for over a year is no one to win back by a score (docs/churn.md, The protocol).
        case when featured.recency_days <= 365 then scored.model_status else 'out_of_population' end as model_status,
        case when featured.recency_days <= 365 then scored.churn_probability end as churn_probability,
        scored.probability_alive,
        scored.probability_of_order,
        scored.expected_orders,
        scored.expected_orders_365d,
        scored.expected_order_amount,
        scored.expected_value_365,
        scored.expected_value_365_low,
        scored.expected_value_365_high,
        {%- for name in ['baseline_log_odds'] + families %}
        {%- set column = name if name == 'baseline_log_odds' else name ~ '_contribution' %}
        case when featured.recency_days <= 365 then scored.{{ column }} end as {{ column }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ source('identity', 'customers') }} as known
    left join {{ ref('int_customers__featured') }} as featured on featured.customer_key = known.customer_key
    left join {{ ref('int_customers__scored') }} as scored on scored.customer_key = known.customer_key
),

-- Recency and frequency of a one-time buyer are one fact. What moves the log-odds by less than 0.1 (a probability by at
-- most 2.5 points) is no reason.
told as (
    select
        customers.customer_key,
        told.code,
        told.contribution
    from customers
    cross join lateral (
        values
        (
            case when is_one_time = 1 then 'only_one_order' else 'recency' end,
            recency_contribution + case when is_one_time = 1 then frequency_contribution else 0 end
        ),
        ('frequency', case when is_one_time = 0 then frequency_contribution end),
        {%- for family in families[2:] %}
        ('{{ family }}', {{ family }}_contribution){{ ',' if not loop.last }}
        {%- endfor %}
    ) as told (code, contribution)
    where abs(told.contribution) >= 0.1
),

reasons as (
    select
        customer_key,
        array_agg(code order by contribution desc, code) filter (where contribution > 0) as codes,
        array_agg(contribution order by contribution desc, code) filter (where contribution > 0) as contributions,
        array_agg(code order by contribution, code) filter (where contribution < 0) as protective_codes,
        min(contribution) filter (where contribution < 0) as protective_contribution
    from told
    group by customer_key
)

select
    customers.customer_key,
    {{ as_of_on() }} as as_of_on,
    customers.model_status,
    case when customers.model_status in ('last_promoted', 'bgnbd', 'hiatus', 'frequency', 'not_scored')
        then coalesce((select reason from newest_fit), 'never_fitted') end as model_status_reason,
    case when customers.model_status not in ('out_of_population', 'not_scored') then model_version end as model_version,
    case when customers.model_status not in ('out_of_population', 'not_scored') then horizon_days end as horizon_days,
    churn_probability,
    case
        when churn_probability >= high_from then 'high'
        when churn_probability >= medium_from then 'medium'
        when churn_probability is not null then 'low'
    end as churn_band,
    case when purchase_day_count >= 2 then recency_days > 2 * expected_gap_days end as is_late_vs_own_cadence,
    recency_days > 2 * expected_gap_days as is_late_vs_expected_gap,
    coalesce(purchase_day_count, 0) as purchase_day_count,
    recency_days,
    round(expected_gap_days::numeric, 2) as expected_gap_days,
    round(overdue_ratio::numeric, 4) as overdue_ratio,
    probability_alive,
    probability_of_order,
    expected_orders,
    expected_orders_365d,
    round(expected_order_amount::numeric, 4) as expected_order_amount,
    round(expected_value_365::numeric, 4) as expected_value_365_amount,
    round(expected_value_365_low::numeric, 4) as expected_value_365_low_amount,
    round(expected_value_365_high::numeric, 4) as expected_value_365_high_amount,
    {%- for place in [1, 2, 3] %}
    codes[{{ place }}] as reason_{{ place }}_code,
    contributions[{{ place }}] as reason_{{ place }}_contribution,
    {%- endfor %}
    protective_codes[1] as protective_1_code,
    protective_contribution as protective_1_contribution,
    baseline_log_odds,
    {%- for family in families %}
    {{ family }}_contribution{{ ',' if not loop.last }}
    {%- endfor %}
from customers
left join reasons using (customer_key)
cross join bands
