{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['ticket_key']}) }}

with tickets as (
    select
        ticket_key,
        customer_key,
        created_at,
        created_on,
        channel,
        coalesce(priority, 'normal') as priority,
        is_complaint,
        is_open,
        -- Whoever resolves a ticket has answered it.
        case when {{ by_as_of('coalesce(first_response_at, first_resolved_at)') }}
            then coalesce(first_response_at, first_resolved_at) end as first_response_at,
        case when {{ by_as_of('first_resolved_at') }} then first_resolved_at end as resolution_at
    from {{ ref('fct_tickets') }}
    where created_on <= {{ as_of_on() }}
),

today as (
    select open_seconds_before as open_seconds
    from {{ ref('int_business_days__counted') }}
    where business_on = {{ as_of_on() }} + 1
),

waited as (
    select
        tickets.*,
        {{ service_hours('first_response', 'tickets.priority') }} as first_response_limit_hours,
        {{ service_hours('resolution', 'tickets.priority') }} as resolution_limit_hours,
        round((today.open_seconds - {{ open_seconds('created', 'tickets.created_at') }}) / 3600, 4) as waiting_hours,
        {%- for kind in ['first_response', 'resolution'] %}
        round(
            ({{ open_seconds(kind, 'tickets.' ~ kind ~ '_at') }} - {{ open_seconds('created', 'tickets.created_at') }}) / 3600, 4
        ) as {{ kind }}_business_hours
        {{- ',' if not loop.last }}
        {%- endfor %}
    from tickets
    cross join today
    inner join {{ ref('int_business_days__counted') }} as created on created.business_on = tickets.created_on
    {%- for kind in ['first_response', 'resolution'] %}
    left join {{ ref('int_business_days__counted') }} as {{ kind }}
        on {{ kind }}.business_on = {{ business_date('tickets.' ~ kind ~ '_at') }}
    {%- endfor %}
)

select
    ticket_key,
    customer_key,
    created_on,
    channel,
    priority,
    is_complaint,
    {%- for kind in ['first_response', 'resolution'] %}
    {{ kind }}_limit_hours,
    {{ kind }}_business_hours,
    case
        when {{ kind }}_business_hours <= {{ kind }}_limit_hours then 'met'
        when {{ kind }}_business_hours is not null then 'missed'
        -- Closed, and the feed does not say when.
        when not is_open then 'unknown'
        when waiting_hours > {{ kind }}_limit_hours then 'missed'
        else 'open'
    end as {{ kind }}_outcome
    {{- ',' if not loop.last }}
    {%- endfor %}
from waited
