{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables(many_groups=true) }}') }}

with days as (
    select customer_key, ordered_on as purchase_on
    from {{ ref('fct_orders') }}
    where customer_key is not null and is_valid and ordered_on <= {{ as_of_on() }}
    group by customer_key, ordered_on
)

select
    customer_key,
    purchase_on,
    row_number() over in_order as purchase_number,
    count(*) over (partition by customer_key) - row_number() over in_order as later_purchase_count,
    purchase_on - lag(purchase_on) over in_order as gap_days
from days
window in_order as (partition by customer_key order by purchase_on)
