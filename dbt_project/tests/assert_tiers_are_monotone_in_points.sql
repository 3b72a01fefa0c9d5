-- A tier whose lowest customer has fewer points than the highest one of a tier below.
with tiers as (
    select
        tier,
        array_position(array['base', 'silver', 'gold', 'platinum'], tier) as height,
        min(points_365d) as lowest,
        max(points_365d) as highest
    from {{ ref('customer_loyalty') }}
    group by tier
)

select upper_tier.tier, lower_tier.tier as tier_below
from tiers as upper_tier
inner join tiers as lower_tier on upper_tier.height > lower_tier.height
where upper_tier.lowest <= lower_tier.highest
union all
select tier, null from tiers where height is null
