{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['rule']}) }}

-- Alerts opened before this day; the journal's rows of today belong to the pass that reads this.
with alerts as (
    select
        alert_id,
        customer_key,
        rule,
        opened_on,
        opened_on + {{ parameter('alert_outcome_days') }}::integer <= {{ as_of_on() }} as is_decided
    from {{ source('loyalty_journals', 'customer_alerts') }}
    where opened_on < {{ as_of_on() }}
),

returned as (
    select distinct alerts.alert_id
    from alerts
    inner join {{ ref('int_purchase_days__listed') }} as days
        on days.customer_key = alerts.customer_key
        and days.purchase_on > alerts.opened_on
        and days.purchase_on <= alerts.opened_on + {{ parameter('alert_outcome_days') }}::integer
),

decided as (
    select alerts.rule, case when alerts.is_decided then returned.alert_id is null end as came_true
    from alerts
    left join returned using (alert_id)
),

counted as (
    select
        rules.rule,
        count(decided.rule) as alert_count,
        count(decided.came_true) as decided_alert_count,
        count(*) filter (where decided.came_true) as came_true_count
    from {{ ref('alert_rules') }} as rules
    left join decided using (rule)
    group by rules.rule
)

select
    rule,
    alert_count,
    decided_alert_count,
    came_true_count,
    {{ rate('came_true_count', 'decided_alert_count') }} as alert_precision,
    {{ wilson_bound('came_true_count', 'decided_alert_count', 'low') }} as alert_precision_low,
    {{ wilson_bound('came_true_count', 'decided_alert_count', 'high') }} as alert_precision_high
from counted
