{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['parameter', 'valid_from_on']}) }}

select
    parameter,
    value,
    valid_from as valid_from_on,
    lead(valid_from, 1, 'infinity'::date) over (partition by parameter order by valid_from) as valid_to_on
from {{ ref('loyalty_parameters') }}
