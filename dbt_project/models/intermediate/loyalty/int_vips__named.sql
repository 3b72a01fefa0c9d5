{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

-- How each VIP stood at the last pass before this day; nobody else is in this journal.
with before as (
    select distinct on (customer_key) customer_key, vip_status, vip_since_on
    from {{ source('loyalty_journals', 'vip_history') }}
    where valid_from_on < {{ as_of_on() }} and (valid_to_on is null or valid_to_on >= {{ as_of_on() }})
    order by customer_key, valid_from_on desc, period_id desc
),

expected as (
    select
        customer_key,
        expected_value_365_amount,
        churn_probability,
        is_late_vs_own_cadence,
        rank() over (order by expected_value_365_amount desc) as place,
        count(*) over () as expected_customer_count
    from {{ ref('customer_churn') }}
    where expected_value_365_amount is not null
),

-- What a customer brought while here: the 365 days up to the last purchase, however long ago that is.
brought as (
    select cadences.customer_key, sum(orders.net_amount) as past_value_amount
    from {{ ref('int_purchase_cadences__measured') }} as cadences
    inner join {{ ref('fct_orders') }} as orders using (customer_key)
    where orders.is_valid
        and orders.net_amount is not null
        and orders.ordered_on > cadences.last_purchase_on - 365
        and orders.ordered_on <= cadences.last_purchase_on
    group by cadences.customer_key
),

past as (
    select
        brought.customer_key,
        brought.past_value_amount,
        rank() over (order by brought.past_value_amount desc)
            <= ceil(count(*) over () * {{ parameter('high_past_value_share') }}) as is_high,
        churn.churn_probability,
        -- Whoever has not ordered for over a year is lost, not at risk.
        churn.model_status is distinct from 'out_of_population'
            and (
                coalesce(churn.churn_probability >= {{ parameter('high_past_value_minimum_churn_probability') }}, false)
                or coalesce(churn.is_late_vs_own_cadence, false)
            ) as is_leaving
    from brought
    left join {{ ref('customer_churn') }} as churn using (customer_key)
),

judged as (
    select
        known.customer_key,
        past.past_value_amount,
        round((past.past_value_amount * past.churn_probability)::numeric, 4) as value_at_risk_amount,
        past.is_high and cadences.purchase_day_count >= {{ parameter('vip_minimum_purchase_days') }} as has_high_past_value,
        past.is_leaving,
        expected.expected_value_365_amount,
        expected.churn_probability,
        expected.is_late_vs_own_cadence,
        before.vip_status,
        before.vip_since_on,
        coalesce(cadences.purchase_day_count, 0) >= {{ parameter('vip_minimum_purchase_days') }} as may_be_vip,
        expected.place <= ceil(expected.expected_customer_count * {{ parameter('vip_entry_share') }}) as is_above_entry,
        expected.place > ceil(expected.expected_customer_count * {{ parameter('vip_exit_share') }}) as is_below_exit
    from {{ source('identity', 'customers') }} as known
    left join {{ ref('int_purchase_cadences__measured') }} as cadences using (customer_key)
    left join expected using (customer_key)
    left join past using (customer_key)
    left join before using (customer_key)
),

named as (
    select
        *,
        case
            when not may_be_vip then null
            when is_above_entry then 'vip'
            when not is_below_exit and vip_status is not null then 'vip'
            -- One snapshot below the exit is a warning, the second one running is the end.
            when coalesce(is_below_exit, true) and vip_status = 'vip' then 'leaving'
        end as present_vip_status
    from judged
)

select
    customer_key,
    expected_value_365_amount,
    present_vip_status as vip_status,
    case when is_measured then present_vip_status is not null end as is_vip,
    case when present_vip_status is not null then coalesce(vip_since_on, {{ as_of_on() }}) end as vip_since_on,
    case
        when is_measured then
            present_vip_status is not null
            and (
                present_vip_status = 'leaving'
                or coalesce(churn_probability >= {{ parameter('vip_at_risk_minimum_churn_probability') }}, false)
                or coalesce(is_late_vs_own_cadence, false)
            )
    end as is_vip_at_risk,
    past_value_amount,
    value_at_risk_amount,
    has_high_past_value,
    has_high_past_value and is_leaving as is_high_past_value_at_risk
from named
cross join lateral (
    -- Without an expected value of anybody (no model yet) nobody can be told from anybody.
    select exists (select 1 from expected) or vip_status is not null as is_measured
) as measured
