{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key', 'likely_failure']}) }}

with orders as (
    select
        orders.customer_key,
        orders.ordered_on,
        {{ business_date('orders.promised_delivery_at') }} as promised_on,
        orders.is_late or (orders.delivered_at is null and orders.status not in ('delivered', 'returned')) as is_missed,
        items.bought_quantity,
        items.returned_quantity
    from {{ ref('fct_orders') }} as orders
    left join {{ ref('int_order_items__totalled') }} as items using (order_key)
    where orders.customer_key is not null and orders.is_valid and {{ in_last(365, 'orders.ordered_on') }}
),

late_deliveries as (
    select customer_key, max(promised_on) as failed_on, 'late_delivery' as likely_failure
    from orders
    where is_missed
        and {{ in_last(parameter('recovery_valid_days') ~ '::integer', 'promised_on') }}
        and promised_on < {{ as_of_on() }}
    group by customer_key
),

returns as (
    select
        customer_key,
        max(ordered_on) filter (where returned_quantity > 0) as failed_on,
        'product_returns' as likely_failure
    from orders
    group by customer_key
    having sum(bought_quantity) >= {{ parameter('recovery_minimum_bought_quantity') }}
        and sum(returned_quantity) >= {{ parameter('recovery_minimum_return_rate') }} * sum(bought_quantity)
        and {{ in_last(
            parameter('recovery_return_window_days') ~ '::integer', 'max(ordered_on) filter (where returned_quantity > 0)'
        ) }}
),

warned as (
    select
        customer_key,
        max(started_on) as failed_on,
        case rule
            when 'complaint_past_sla' then 'unresolved_complaint'
            when 'second_complaint' then 'poor_service'
            when 'low_csat' then 'poor_service'
            else 'drifting_away'
        end as likely_failure
    from {{ ref('int_customer_alerts__raised') }}
    group by 1, 3
),

failures as (
    select * from late_deliveries
    union all
    select * from returns
    union all
    select * from warned
),

-- Nobody is to cost more than a share of what he is expected to bring; who is expected to bring nothing known gets nothing.
budgeted as (
    select
        failures.*,
        vips.expected_value_365_amount,
        round(
            least(
                {{ parameter('recovery_maximum_amount') }},
                {{ parameter('recovery_expected_value_share') }} * vips.expected_value_365_amount::numeric
            ), 2
        ) as maximum_spend_amount
    from failures
    inner join {{ ref('int_vips__named') }} as vips using (customer_key)
    where vips.expected_value_365_amount is not null
),

actions as (
    select distinct on (failure, action) failure, action, cost_amount
    from {{ ref('recovery_actions') }}
    where valid_from <= {{ as_of_on() }}
    order by failure, action, valid_from desc
),

-- The dearest action that the budget carries.
planned as (
    select distinct on (budgeted.customer_key, budgeted.likely_failure)
        budgeted.*, actions.action, actions.cost_amount
    from budgeted
    inner join actions
        on actions.failure = budgeted.likely_failure and actions.cost_amount <= budgeted.maximum_spend_amount
    order by budgeted.customer_key, budgeted.likely_failure, actions.cost_amount desc, actions.action
)

select
    planned.customer_key,
    planned.likely_failure,
    planned.failed_on,
    planned.action,
    planned.cost_amount as action_cost_amount,
    planned.maximum_spend_amount,
    planned.expected_value_365_amount,
    coalesce(channels.preferred_contact_channel, 'email') as channel,
    greatest(planned.failed_on, {{ as_of_on() }} - {{ parameter('recovery_valid_days') }}::integer + 1)
        + {{ parameter('recovery_valid_days') }}::integer as valid_to_on
from planned
left join {{ ref('int_preferred_channels__found') }} as channels using (customer_key)
