{{ config(
    tags=['daily', 'churn'],
    meta={
        'primary_key': ['customer_key'],
        'features': [
            {'name': 'recency', 'family': 'recency', 'column': 'recency_days', 'transform': 'log1p'},
            {'name': 'overdue', 'family': 'recency', 'column': 'overdue_ratio', 'transform': 'log1p'},
            {'name': 'one_time_recency', 'family': 'recency', 'column': 'one_time_recency_days', 'transform': 'log1p'},
            {'name': 'bgnbd', 'family': 'recency', 'column': 'bgnbd_logit', 'transform': 'as_it_is'},
            {'name': 'frequency', 'family': 'frequency', 'column': 'repeat_day_count', 'transform': 'log1p'},
            {'name': 'one_time', 'family': 'frequency', 'column': 'is_one_time', 'transform': 'as_it_is'},
            {'name': 'frequency_28d', 'family': 'frequency', 'column': 'repeat_day_count_28d', 'transform': 'log1p'},
            {'name': 'frequency_91d', 'family': 'frequency', 'column': 'repeat_day_count_91d', 'transform': 'log1p'},
            {'name': 'frequency_182d', 'family': 'frequency', 'column': 'repeat_day_count_182d', 'transform': 'log1p'},
            {'name': 'order_value', 'family': 'value', 'column': 'mean_order_amount', 'transform': 'log1p'},
            {'name': 'cancelled_share', 'family': 'order_quality', 'column': 'cancelled_share', 'transform': 'as_it_is'},
            {'name': 'discounted_share', 'family': 'order_quality', 'column': 'discounted_share', 'transform': 'as_it_is'},
            {'name': 'returned_share', 'family': 'order_quality', 'column': 'returned_share', 'transform': 'as_it_is'},
            {'name': 'late_share', 'family': 'order_quality', 'column': 'late_share', 'transform': 'as_it_is'},
            {'name': 'late_share_unknown', 'family': 'order_quality', 'column': 'late_share', 'transform': 'is_null'},
            {'name': 'last_order_troubled', 'family': 'order_quality', 'column': 'is_last_order_troubled', 'transform': 'as_it_is'},
            {'name': 'sessions_28d', 'family': 'sessions', 'column': 'session_count_28d', 'transform': 'log1p'},
            {'name': 'sessions_91d', 'family': 'sessions', 'column': 'session_count_91d', 'transform': 'log1p'},
            {'name': 'product_views_28d', 'family': 'sessions', 'column': 'product_view_count_28d', 'transform': 'log1p'},
            {'name': 'abandoned_carts_28d', 'family': 'sessions', 'column': 'abandoned_cart_count_28d', 'transform': 'log1p'},
            {'name': 'last_session', 'family': 'sessions', 'column': 'last_session_days', 'transform': 'log1p'},
            {'name': 'last_session_unknown', 'family': 'sessions', 'column': 'last_session_days', 'transform': 'is_null'},
            {'name': 'tickets_per_order', 'family': 'tickets', 'column': 'tickets_per_order', 'transform': 'log1p'},
            {'name': 'complaints_per_order', 'family': 'tickets', 'column': 'complaints_per_order', 'transform': 'log1p'},
            {'name': 'recent_complaints', 'family': 'tickets', 'column': 'recent_complaints_per_order', 'transform': 'log1p'},
            {'name': 'open_ticket', 'family': 'tickets', 'column': 'has_open_ticket', 'transform': 'as_it_is'},
            {'name': 'last_satisfaction', 'family': 'tickets', 'column': 'last_satisfaction', 'transform': 'as_it_is'},
            {'name': 'last_satisfaction_unknown', 'family': 'tickets', 'column': 'last_satisfaction', 'transform': 'is_null'},
        ],
    }
) }}

{%- set features = config.get('meta').features %}
{%- set families = features | map(attribute='family') | unique | list %}

-- What serves: the last promoted version, else what the newest fit has at least (churn.md, The models).
with versions as (
    {{ known_churn_versions() }}
),

served as (
    select
        coalesce(max(model_version) filter (where decision = 'promoted'), max(model_version)) as model_version,
        bool_or(decision = 'promoted') as is_promoted,
        max(model_version) as newest_version
    from versions
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
        {%- for name in ['r', 'alpha', 'a', 'b'] %}
        {{ parameter_of('bgnbd', name) }} as {{ name }},
        {%- endfor %}
        {{ parameter_of('gammagamma', 'p') }} as value_p,
        {{ parameter_of('gammagamma', 'q') }} as value_q,
        {{ parameter_of('gammagamma', 'gamma') }} as value_gamma,
        {{ parameter_of('hiatus', 'intercept') }} as hiatus_intercept,
        {{ parameter_of('hiatus', 'slope') }} as hiatus_slope,
        {{ parameter_of('primary', 'centred_intercept') }} as centred_intercept
    from served
    left join versions using (model_version)
    left join {{ source('state', 'churn_model_parameters') }} using (model_version)
    group by served.model_version
),

terms as (
    select
        {%- for feature in features %}
        {%- for number in ['mean', 'scale', 'beta', 'population_mean_z'] %}
        max({{ number }}) filter (where feature = '{{ feature.name }}') as {{ feature.name }}_{{ number }}
        {{- ',' if not loop.last }}
        {%- endfor %}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from {{ source('state', 'churn_model_terms') }}
    where model_version = (select model_version from served)
),

rhythms as (
    select
        featured.*,
        repeat_day_count::double precision as x,
        r + repeat_day_count as shape,
        alpha + tenure_days / 7.0::double precision as alpha_t,
        alpha + repeat_span_days / 7.0::double precision as alpha_t_x,
        horizon_days / 7.0::double precision as horizon_weeks
    from {{ ref('int_customers__featured') }} as featured
    cross join parameters
),

-- Materialized: the planner would write out each column's formula wherever it is read, exponents within exponents.
-- BG/NBD (Fader, Hardie & Lee 2005), times in weeks.
alive as materialized (
    select
        rhythms.*,
        case
            when x = 0 and r is not null then 1
            else 1 / (1 + {{ safe_exp('ln(a) - ln(b + x - 1) + shape * ln(alpha_t / alpha_t_x)') }})
        end as fitted_alive
    from rhythms
    cross join parameters
),

ordering as materialized (
    select
        alive.*,
        fitted_alive * (1 - {{ safe_exp('shape * ln(alpha_t / (alpha_t + horizon_weeks))') }}) as probability_of_order
    from alive
),

logits as materialized (
    select
        *,
        coalesce(ln(
            greatest(least(1 - probability_of_order, 1 - 1e-6), 1e-6)
            / (1 - greatest(least(1 - probability_of_order, 1 - 1e-6), 1e-6))
        ), 0) as bgnbd_logit
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

contributions as materialized (
    select
        logits.customer_key,
        {%- for family in families %}
        {% for feature in features if feature.family == family -%}
        {% set name = feature.name -%}
        coalesce({{ name }}_beta * (
            greatest(-6, least(6, ({{ churn_feature(feature.column, feature.transform) }} - {{ name }}_mean) / {{ name }}_scale))
            - {{ name }}_population_mean_z), 0)
        {{- ' +' if not loop.last }}
        {% endfor -%}
        as {{ family }}
        {{- ',' if not loop.last }}
        {%- endfor %}
    from logits
    cross join terms
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
        when r is not null then 'bgnbd'
        when hiatus_intercept is not null then 'hiatus'
        else 'not_scored'
    end as model_status,
    case
        when promoted_status is not null then 1 / (1 + exp(-log_odds))
        when r is not null then greatest(least(1 - probability_of_order, 1 - 1e-6), 1e-6)
        when hiatus_intercept is not null
            then 1 / (1 + exp(-greatest(-13, least(13, hiatus_intercept + hiatus_slope * sqrt(recency_days::double precision)))))
    end as churn_probability,
    case when bgnbd_status <> 'no_dropout' then fitted_alive end as probability_alive,
    probability_of_order,
    fitted_alive * orders_if_alive as expected_orders,
    fitted_alive * orders_365d_if_alive as expected_orders_365d,
    case
        when repeat_mean_order_amount > 0
            then (value_gamma * value_p + value_p * x * repeat_mean_order_amount) / (value_p * x + value_q - 1)
        else value_gamma * value_p / (value_q - 1)
    end as expected_order_amount,
    case when promoted_status is not null then centred_intercept end as baseline_log_odds,
    {%- for family in families %}
    case when promoted_status is not null then {{ family }} * case
        when log_odds = unlimited then 1 else (log_odds - centred_intercept) / (unlimited - centred_intercept)
    end end as {{ family }}_contribution
    {{- ',' if not loop.last }}
    {%- endfor %}
from logits
inner join totals using (customer_key)
left join expectations using (repeat_day_count, tenure_days)
cross join parameters
