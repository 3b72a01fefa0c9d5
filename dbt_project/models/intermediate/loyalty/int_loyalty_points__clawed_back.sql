{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['lot', 'source_id', 'effective_on']}) }}

with refunds as (
    select
        lots.*,
        lots.lot || ':' || coalesce(refunds.refund_id, refunds.refund_number::text) as source_id,
        greatest(refunds.refunded_on, lots.earned_on) as effective_on,
        refunds.net_amount as refunded_amount,
        sum(refunds.net_amount) over (
            partition by refunds.order_key order by refunds.refunded_on, refunds.refund_number
        ) as refunded_so_far_amount
    from {{ ref('fct_refunds') }} as refunds
    inner join {{ ref('int_loyalty_lots__earned') }} as lots on lots.lot = refunds.order_key
    where refunds.refunded_on <= {{ as_of_on() }} and refunds.net_amount is not null
),

-- What the order would earn on the money that is left, before and after each refund: so the parts of a refund in three
-- parts add up to the whole, and whoever gets everything back keeps no point.
claw_backs as (
    select
        *,
        floor(greatest(net_amount - refunded_so_far_amount + refunded_amount, 0) * points_per_amount)
        - floor(greatest(net_amount - refunded_so_far_amount, 0) * points_per_amount) as clawed_points
    from refunds
    -- A lot that has expired has nothing left to take.
    where effective_on < expires_on
)

select
    lot,
    source_id,
    effective_on,
    customer_key,
    earned_on,
    expires_on,
    sum(clawed_points)::bigint as points
from claw_backs
group by lot, source_id, effective_on, customer_key, earned_on, expires_on
having sum(clawed_points) > 0
