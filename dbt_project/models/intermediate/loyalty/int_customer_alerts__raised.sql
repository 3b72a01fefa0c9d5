{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key', 'rule']}) }}

{%- set rules = [
    'late_against_own_cadence', 'churn_probability_up', 'complaint_past_sla', 'second_complaint', 'low_csat', 'vip_at_risk',
    'high_past_value_at_risk',
] %}

with cadences as (
    select * from {{ ref('int_purchase_cadences__measured') }}
),

tickets as (
    select *, {{ business_date('satisfaction_at') }} as satisfied_on
    from {{ ref('fct_tickets') }}
    where customer_key is not null and created_on <= {{ as_of_on() }}
),

late_against_own_cadence as (
    select
        customer_key,
        late_on as started_on,
        format('%s days since the last order; expected gap %s days', recency_days, round(expected_gap_days, 1)) as evidence
    from cadences
    cross join lateral (
        select last_purchase_on + floor({{ parameter('late_gap_ratio') }} * expected_gap_days)::integer + 1 as late_on
    ) as lateness
    where purchase_day_count >= 2
        and {{ in_last(parameter('alert_late_against_own_cadence_window_days') ~ '::integer', 'late_on') }}
),

-- The journal holds the days on which a probability moved: the one that held when the window began counts too.
earlier_probabilities as (
    select churn.customer_key, churn.churn_probability, least(min(within.churn_probability), min(held.churn_probability)) as lowest
    from {{ ref('customer_churn') }} as churn
    left join {{ source('loyalty_journals', 'customer_churn_history') }} as within
        on within.customer_key = churn.customer_key
        and within.as_of_on < {{ as_of_on() }}
        and within.as_of_on >= {{ as_of_on() }} - {{ parameter('alert_churn_probability_up_window_days') }}::integer
    left join lateral (
        select history.churn_probability
        from {{ source('loyalty_journals', 'customer_churn_history') }} as history
        where history.customer_key = churn.customer_key
            and history.as_of_on < {{ as_of_on() }} - {{ parameter('alert_churn_probability_up_window_days') }}::integer
        order by history.as_of_on desc
        limit 1
    ) as held on true
    where churn.churn_probability is not null
    group by churn.customer_key, churn.churn_probability
),

churn_probability_up as (
    select
        customer_key,
        {{ as_of_on() }} as started_on,
        format(
            'churn probability %s, lowest of the last weeks %s',
            round(churn_probability::numeric, 3), round(lowest::numeric, 3)
        ) as evidence
    from earlier_probabilities
    where churn_probability - lowest >= {{ parameter('alert_churn_probability_up_minimum_rise') }}
),

complaint_past_sla as (
    select
        customer_key,
        min({{ business_date("(created_at + " ~ sla_hours('priority') ~ " * interval '1 hour')") }}) as started_on,
        format('%s complaint(s) past the time limit, oldest of %s', count(*), min(created_on)) as evidence
    from tickets
    where {{ is_complaint_past_sla() }}
    group by customer_key
),

second_complaint as (
    select
        customer_key,
        max(created_on) as started_on,
        format('%s complaints in %s days', count(*), {{ parameter('alert_second_complaint_window_days') }}) as evidence
    from tickets
    where is_complaint
        and {{ in_last(parameter('alert_second_complaint_window_days') ~ '::integer', 'created_on') }}
    group by customer_key
    having count(*) >= 2
),

low_csat as (
    select
        tickets.customer_key,
        max(tickets.satisfied_on) as started_on,
        format('satisfaction %s of 1', min(tickets.satisfaction)) as evidence
    from tickets
    left join cadences using (customer_key)
    where tickets.satisfaction <= {{ parameter('alert_low_csat_maximum') }}
        and {{ in_last(parameter('alert_low_csat_window_days') ~ '::integer', 'tickets.satisfied_on') }}
        and coalesce(cadences.last_purchase_on <= tickets.satisfied_on, true)
    group by tickets.customer_key
),

vip_at_risk as (
    select
        customer_key,
        {{ as_of_on() }} as started_on,
        format(
            'expected value of 365 days %s%s; status %s',
            round(vips.expected_value_365_amount::numeric, 2),
            case
                when churn.expected_value_365_low_amount is not null then format(
                    ' (80 %%: %s to %s)',
                    round(churn.expected_value_365_low_amount::numeric, 2), round(churn.expected_value_365_high_amount::numeric, 2)
                )
            end,
            vip_status
        ) as evidence
    from {{ ref('int_vips__named') }} as vips
    left join {{ ref('customer_churn') }} as churn using (customer_key)
    where is_vip_at_risk
),

high_past_value_at_risk as (
    select
        customer_key,
        {{ as_of_on() }} as started_on,
        format(
            'net revenue of the last active year %s, of it at risk %s',
            round(past_value_amount::numeric, 2), coalesce(round(value_at_risk_amount::numeric, 2)::text, 'not scored')
        ) as evidence
    from {{ ref('int_vips__named') }}
    where is_high_past_value_at_risk and is_vip_at_risk is not true
),

raised as (
    {%- for rule in rules %}
    select
        customer_key,
        '{{ rule }}' as rule,
        started_on,
        evidence,
        {{ parameter('alert_' ~ rule ~ '_due_days') }}::integer as due_days,
        {{ parameter('alert_' ~ rule ~ '_cooldown_days') }}::integer as cooldown_days
    from {{ rule }}
    {{- ' union all' if not loop.last }}
    {%- endfor %}
)

select
    raised.customer_key,
    raised.rule,
    case when vips.is_vip then rules.severity_of_vip else rules.severity end as severity,
    raised.started_on,
    raised.evidence,
    raised.due_days,
    raised.cooldown_days
from raised
inner join {{ ref('alert_rules') }} as rules using (rule)
left join {{ ref('int_vips__named') }} as vips using (customer_key)
