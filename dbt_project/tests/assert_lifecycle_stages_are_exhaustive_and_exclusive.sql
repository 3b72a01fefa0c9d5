-- A customer of the daily pass without a stage, with two, or with stages that are not those of the rule.
select customers.customer_key, count(stages.customer_key) as row_count
from {{ ref('customer_loyalty') }} as customers
left join {{ ref('int_lifecycle_stages__assigned') }} as stages using (customer_key)
left join {{ ref('lifecycle_stages') }} as rules on rules.rule = stages.stage_rule
group by customers.customer_key
having count(*) <> 1
    or count(rules.rule) <> 1
    or bool_or(customers.lifecycle_stage <> rules.stage_4)
    or bool_or(customers.lifecycle_stage_5 <> rules.stage_5)
