{# Whether a browser names itself as a program. CUBOT is a maker of phones. #}
{% macro is_bot_agent(user_agent) -%}
    coalesce({{ user_agent }} ~* '(?<!cu)bot|crawl|spider|slurp|headless|lighthouse|pingdom|uptime|curl/|wget/|python-requests', false)
{%- endmacro %}

{# Whether an event is the shop's own, by the hosts and the mail domains of C360_INTERNAL_TRAFFIC. #}
{% macro is_own_traffic(page_url, email) -%}
    {%- set own = var('internal_traffic').split(',') | map('trim') | map('lower') | reject('equalto', '') | list -%}
    {%- set listed = "('" ~ own | join("', '") ~ "')" -%}
    {%- if own -%}
    coalesce(raw.host_of({{ page_url }}) in {{ listed }}, false)
    or coalesce('@' || lower(split_part({{ email }}, '@', 2)) in {{ listed }}, false)
    {%- else -%} false
    {%- endif -%}
{%- endmacro %}

{# The campaign of an event or a session as one text; null without any of its three parts. #}
{% macro campaign() -%}
    case when coalesce(utm_source, utm_medium, utm_campaign) is not null
        then concat_ws(E'\x1f', coalesce(utm_source, ''), coalesce(utm_medium, ''), coalesce(utm_campaign, '')) end
{%- endmacro %}

{#
  The channel that a session came by: what its campaign says, else where its referrer lies. Each rule is a pattern of
  whole words; the first that fits counts.
#}
{% macro channel() -%}
    {%- set social = "(facebook|fb|instagram|ig|tiktok|pinterest|linkedin|snapchat|twitter|x|reddit|youtube|threads|whatsapp|t\\.co)" -%}
    {%- set social_hosts = "(^|\\.)(facebook|instagram|tiktok|pinterest|linkedin|snapchat|twitter|reddit|youtube|threads|whatsapp)\\.[a-z.]+$|^(x\\.com|t\\.co|lnkd\\.in|youtu\\.be)$" -%}
    {%- set engines = "(^|\\.)(google|bing|yahoo|duckduckgo|ecosia|baidu|yandex|qwant|startpage|naver|seznam)\\.[a-z.]+$" -%}
    case
        when utm_medium ~* '^(e-?mail|newsletter)$' or utm_source ~* '^(e-?mail|newsletter)$' then 'email'
        when utm_medium ~* '^(sms|text|push|web_?push)$' then 'message'
        when utm_medium ~* '^(paid[ _-]?social|social[ _-]?paid)$' then 'paid_social'
        when utm_medium ~* '^(cpc|ppc|sem|paid([ _-]?search)?)$' and utm_source ~* '^{{ social }}$' then 'paid_social'
        when utm_medium ~* '^(cpc|ppc|sem|paid([ _-]?search)?)$' then 'paid_search'
        when utm_medium ~* '^affiliates?$' then 'affiliate'
        when utm_medium ~* '^(display|banner|cpm|video)$' then 'display'
        when utm_medium ~* '^(social([ _-]?(media|network))?|sm)$' then 'social'
        when utm_medium ~* '^organic$' then 'organic_search'
        when utm_medium ~* '^referral$' then 'referral'
        when utm_medium is null and utm_source ~* '^{{ social }}$' then 'social'
        when coalesce(utm_source, utm_medium, utm_campaign) is not null then 'other_campaign'
        when raw.host_of(referrer) is null then 'direct'
        when raw.host_of(referrer) = raw.host_of(landing_page) then 'direct'
        when raw.host_of(referrer) ~ '{{ engines }}' then 'organic_search'
        when raw.host_of(referrer) ~ '{{ social_hosts }}' then 'social'
        else 'referral'
    end
{%- endmacro %}

{# The column of the first event of a session, in the order of time, that has one (or that the condition fits). #}
{% macro first_of_session(column, condition=none) -%}
    (array_agg({{ column }} order by occurred_at, event_key collate "C")
        filter (where {{ condition or column ~ ' is not null' }}))[1]
{%- endmacro %}

{# The column of the last event of a session that has one. #}
{% macro last_of_session(column) -%}
    (array_agg({{ column }} order by occurred_at desc, event_key collate "C" desc) filter (where {{ column }} is not null))[1]
{%- endmacro %}
