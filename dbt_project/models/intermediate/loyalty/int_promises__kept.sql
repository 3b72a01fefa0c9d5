{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['customer_key']}) }}

select
    customer_key,
    {{ rate('on_time_count', 'promised_delivered_count') }} as on_time_rate,
    promised_delivered_count,
    case when promised_order_count_180d > 0 then late_order_count_180d end as late_order_count_180d,
    {{ rate('on_time_count', 'promise_due_count') }} as promises_kept_rate,
    promise_due_count,
    {{ as_of_on() }} - first_purchase_on as tenure_days
from {{ ref('int_customer_orders__summed') }}
inner join {{ ref('int_purchase_cadences__measured') }} using (customer_key)
