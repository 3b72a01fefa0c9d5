{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['parameter']}) }}

select distinct on (parameter) parameter, value
from {{ ref('loyalty_parameters') }}
where valid_from <= {{ as_of_on() }}
order by parameter, valid_from desc
