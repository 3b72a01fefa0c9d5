{{ config(
    tags=['live'],
    meta={'scope': 'day', 'scope_key': 'traffic_on', 'primary_key': ['traffic_on', 'source']}
) }}

select
    started_on as traffic_on,
    source,
    count(*) filter (where left_out_as is null) as session_count,
    coalesce(sum(event_count) filter (where left_out_as is null), 0)::bigint as event_count,
    {%- for reason in ['bot', 'internal', 'too_long'] %}
    count(*) filter (where left_out_as = '{{ reason }}') as {{ reason }}_session_count,
    coalesce(sum(event_count) filter (where left_out_as = '{{ reason }}'), 0)::bigint as {{ reason }}_event_count
    {{- ',' if not loop.last }}
    {%- endfor %}
from {{ ref('int_sessions__built') }}
where true
    {{- only_dirty('day', 'started_on') }}
group by started_on, source
