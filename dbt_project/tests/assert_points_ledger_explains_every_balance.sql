-- A balance that is not the sum of its postings, or postings that sum to something else than a balance.
with ledger as (
    select customer_key, sum(points) as points
    from {{ source('loyalty_journals', 'loyalty_points_ledger') }}
    group by customer_key
)

select customer_key, ledger.points as posted_points, loyalty.points_balance
from ledger
full join {{ ref('customer_loyalty') }} as loyalty using (customer_key)
where coalesce(ledger.points, 0) <> coalesce(loyalty.points_balance, 0)
