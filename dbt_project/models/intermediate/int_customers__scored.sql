{{ config(
    tags=['daily', 'churn'],
    meta={
        'primary_key': ['customer_key'],
    }
) }}

{%- set families = ['recency', 'frequency', 'value', 'order_quality', 'sessions', 'tickets'] %}
{%- set model = churn_expressions() %}
{%- set value_segments = {'all': 'quantiles_of_all', '1': 'quantiles_of_1', '2-3': 'quantiles_of_2_3', '4+': 'quantiles_of_4'} %}

-- What serves: the last promoted version, else the best fallback of the newest fit (docs/churn.md, The models).
with versions as (
    {{ known_churn_versions() }}
),

served as (
    {{ served_churn_version() }}
),

parameters as (
    select
        served.model_version,
        max(versions.horizon_days) as horizon_days,
        max(case
            when served.is_promoted and served.model_version = served.newest_version then 'primary'
            when served.is_promoted then 'last_promoted'
        end) as promoted_status,
        max(versions.bgnbd_status) as bgnbd_status,
        max(versions.fallback) as fallback,
        {%- for name in ['r', 'alpha', 'a', 'b'] %}
        {{ parameter_of('bgnbd', name) }} as {{ name }},
        {{ parameter_of('mbgnbd', name) }} as modified_{{ name }},
        {%- endfor %}
        {{ parameter_of('gammagamma', 'p') }} as value_p,
        {{ parameter_of('gammagamma', 'q') }} as value_q,
        {{ parameter_of('gammagamma', 'gamma') }} as value_gamma,
        {{ parameter_of('hiatus', 'intercept') }} as hiatus_intercept,
        {{ parameter_of('hiatus', 'slope') }} as hiatus_slope,
        {{ parameter_of('frequency', 'intercept') }} as frequency_intercept,
        {{ parameter_of('frequency', 'slope') }} as frequency_slope,
        {{ parameter_of('primary', 'centred_intercept') }} as centred_intercept,
        {{ parameter_of('value', 'window_days') }} as value_window_days,
        {{ parameter_of('value', 'factor') }} as value_factor,
        {{ parameter_of('value', 'is_serving') }} as is_value_serving,
        {%- for segment, name in value_segments.items() %}
        (
            select array_agg(log_ratio order by percent)
            from {{ source('state', 'churn_value_quantiles') }}
            where model_version = served.model_version and segment = '{{ segment }}'
        ) as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
    from served
    left join versions using (model_version)
    left join {{ source('state', 'churn_model_parameters') }} as stored using (model_version)
    group by served.model_version
),

rhythms as (
    select
        featured.*,
        repeat_day_count::double precision as x,
        r + repeat_day_count as shape,
        alpha + tenure_days / 7.0::double precision as alpha_t,
        alpha + repeat_span_days / 7.0::double precision as alpha_t_x,
        modified_r + repeat_day_count as modified_shape,
        modified_alpha + tenure_days / 7.0::double precision as modified_alpha_t,
        modified_alpha + repeat_span_days / 7.0::double precision as modified_alpha_t_x,
        horizon_days / 7.0::double precision as horizon_weeks
    from {{ ref('int_customers__featured') }} as featured
    cross join parameters
),

-- Materialized: the planner would write out each column's formula wherever it is read, exponents within exponents.
-- BG/NBD (Fader, Hardie & Lee 2005) and MBG/NBD (Batislam et al. 2007: modified), times in weeks.
alive as materialized (
    select
        rhythms.*,
        case
            when x = 0 and r is not null then 1
            else 1 / (1 + {{ safe_exp('ln(a) - ln(b + x - 1) + shape * ln(alpha_t / alpha_t_x)') }})
        end as fitted_alive,
        1 / (1 + {{ safe_exp('ln(modified_a) - ln(modified_b + x) + modified_shape * ln(modified_alpha_t / modified_alpha_t_x)') }})
            as modified_alive
    from rhythms
    cross join parameters
),

ordering as materialized (
    select
        alive.*,
        fitted_alive * (1 - {{ safe_exp('shape * ln(alpha_t / (alpha_t + horizon_weeks))') }}) as probability_of_order,
        modified_alive * (1 - {{ safe_exp('modified_shape * ln(modified_alpha_t / (modified_alpha_t + horizon_weeks))') }})
            as modified_order,
        modified_alive * (1 - {{ safe_exp('modified_shape * ln(modified_alpha_t / (modified_alpha_t + 365 / 7.0::double precision))') }})
            as modified_order_365d
    from alive
),

logits as materialized (
    select
        *,
        coalesce({{ logit_inside('1 - probability_of_order') }}, 0) as bgnbd_logit,
        coalesce({{ logit_inside('1 - modified_order') }}, 0) as mbgnbd_logit,
        {{ logit_inside('modified_order_365d') }} - {{ logit_inside('modified_order') }} as year_over_window
    from ordering
),

-- Expected orders depend on (x, T) alone: summed once for each pair that occurs.
pairs as (
    select distinct repeat_day_count, tenure_days from {{ ref('int_customers__featured') }}
),

weights as (
    select
        counts.repeat_day_count,
        nodes.dropout,
        {{ safe_exp('log_weight + counts.repeat_day_count * log_staying - max(log_weight + counts.repeat_day_count * log_staying)'
                    ~ ' over (partition by counts.repeat_day_count)') }} as weight
    from (select distinct repeat_day_count from pairs) as counts
    inner join {{ source('state', 'churn_dropout_nodes') }} as nodes on nodes.model_version = (select model_version from served)
),

expectations as (
    select
        pairs.repeat_day_count,
        pairs.tenure_days,
        sum(weight * {{ orders_given_dropout('dropout', '(r + pairs.repeat_day_count)', '(horizon_days / 7.0::double precision / (alpha + tenure_days / 7.0::double precision))') }})
            / sum(weight) as orders_if_alive,
        sum(weight * {{ orders_given_dropout('dropout', '(r + pairs.repeat_day_count)', '(365 / 7.0::double precision / (alpha + tenure_days / 7.0::double precision))') }})
            / sum(weight) as orders_365d_if_alive
    from pairs
    inner join weights using (repeat_day_count)
    cross join parameters
    group by pairs.repeat_day_count, pairs.tenure_days
),

-- Splits of trees ask which value is greater; a null is below them all (features.UNKNOWN).
inputs as materialized (
    select
        logits.*
        {%- for column in model.split_columns %},
        coalesce({{ column }}::double precision, -1) as split_{{ column }}
        {%- endfor %}
    from logits
),

contributions as materialized (
    select
        customer_key,
        {%- for family in families %}
        ({{ model.expressions.get(family, '0::double precision') }}) as {{ family }}{{ ',' if not loop.last }}
        {%- endfor %}
    from inputs
),

-- Two stages (value.py): does the customer buy within the window, and for how much over what BG/NBD and Gamma-Gamma
-- expect of a buyer.
order_amounts as (
    select
        customer_key,
        case
            when repeat_mean_order_amount > 0
                then (value_gamma * value_p + value_p * x * repeat_mean_order_amount) / (value_p * x + value_q - 1)
            else value_gamma * value_p / (value_q - 1)
        end as expected_order_amount
    from logits
    cross join parameters
),

stages as materialized (
    select
        inputs.customer_key,
        expected_order_amount,
        fitted_alive * orders_if_alive as expected_orders,
        fitted_alive * orders_365d_if_alive as expected_orders_365d,
        year_over_window,
        case when value_window_days is not null
            then greatest(-13, least(13, {{ model.expressions.get('value_buys', '0::double precision') }})) end
            as buys_log_odds,
        greatest(-27, least(27,
            coalesce(ln(
                greatest(coalesce(
                    fitted_alive * case when value_window_days = 365 then orders_365d_if_alive else orders_if_alive end, 1), 1)
                * greatest(expected_order_amount, 0.01)
            ), 0)
            + {{ model.expressions.get('value_amount', '0::double precision') }}
        )) as log_amount,
        case when value_window_days = 365 then 1 else coalesce(orders_365d_if_alive / nullif(orders_if_alive, 0), 365 / value_window_days) end
            as extension
    from inputs
    inner join order_amounts using (customer_key)
    left join expectations using (repeat_day_count, tenure_days)
    cross join parameters
),

-- Where two years are not known, the window is the horizon (ValueModel.year): P(buys) grows as by MBG/NBD, and each buyer
-- brings what is left of the growth of BG/NBD's expected orders.
buying as materialized (
    select
        stages.*,
        1 / (1 + exp(-buys_log_odds)) as buys,
        case
            when value_window_days = 365 then 1 / (1 + exp(-buys_log_odds))
            else coalesce(
                1 / (1 + exp(-(buys_log_odds + year_over_window))),
                1 - (1 - 1 / (1 + exp(-buys_log_odds))) ^ (365 / value_window_days)
            )
        end as buys_365d
    from stages
    cross join parameters
),

values_365d as materialized (
    select
        customer_key,
        expected_order_amount,
        expected_orders,
        expected_orders_365d,
        buys_365d,
        log_amount + ln(extension * buys / buys_365d) as log_amount_365d
    from buying
),

totals as materialized (
    select
        contributions.*,
        centred_intercept + {{ families | join(' + ') }} as unlimited,
        greatest(-13, least(13, centred_intercept + {{ families | join(' + ') }})) as log_odds
    from contributions
    cross join parameters
)

select
    customer_key,
    logits.as_of_on,
    parameters.model_version,
    parameters.horizon_days::bigint as horizon_days,
    case
        when promoted_status is not null then promoted_status
        when fallback is not null then fallback
        when r is not null then 'bgnbd'
        when hiatus_intercept is not null then 'hiatus'
        else 'not_scored'
    end as model_status,
    case
        when promoted_status is not null then 1 / (1 + exp(-log_odds))
        when fallback = 'frequency'
            then 1 / (1 + exp(-greatest(-13, least(13, frequency_intercept + frequency_slope * ln(1 + x)))))
        when r is not null and coalesce(fallback, 'bgnbd') = 'bgnbd' then greatest(least(1 - probability_of_order, 1 - 1e-6), 1e-6)
        when hiatus_intercept is not null
            then 1 / (1 + exp(-greatest(-13, least(13, hiatus_intercept + hiatus_slope * sqrt(recency_days::double precision)))))
    end as churn_probability,
    case when bgnbd_status <> 'no_dropout' then fitted_alive end as probability_alive,
    probability_of_order,
    expected_orders,
    expected_orders_365d,
    expected_order_amount,
    case
        when is_value_serving = 1 then buys_365d * exp(log_amount_365d) * value_factor
        else expected_orders_365d * expected_order_amount
    end as expected_value_365,
    case when 1 - buys_365d >= 0.1 then 0 else {{ value_quantile('0.1') }} end as expected_value_365_low,
    case when 1 - buys_365d >= 0.1 then {{ value_quantile('0.8') }} else {{ value_quantile('0.9') }} end as expected_value_365_high,
    case when promoted_status is not null then centred_intercept end as baseline_log_odds,
    {%- for family in families %}
    case when promoted_status is not null then {{ family }} * case
        when log_odds = unlimited then 1 else (log_odds - centred_intercept) / (unlimited - centred_intercept)
    end end as {{ family }}_contribution
    {{- ',' if not loop.last }}
    {%- endfor %}
from logits
inner join totals using (customer_key)
inner join values_365d using (customer_key)
cross join parameters
cross join lateral (
    select coalesce(case when x = 0 then quantiles_of_1 when x <= 2 then quantiles_of_2_3 else quantiles_of_4 end, quantiles_of_all)
        as value_quantiles
) as deviations
