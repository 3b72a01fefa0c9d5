-- Staging and facts hold the same records, but for those that their source has deleted.
{%- for feed, known in var('feeds').items() if not known.built_into %}
select '{{ known.fact }}' as fact, {{ known.key }} as record_key
from (select * from {{ ref('stg_' ~ feed) }} where not is_deleted) as staged
full join {{ ref(known.fact) }} as facts using ({{ known.key }})
where staged.batch_id is null or facts.batch_id is null
{{ 'union all' if not loop.last }}
{%- endfor %}
