"""What broke, who feels it, which command fixes it, proof that it is fixed: conditions, incidents, alerts, monitor."""

# Registers its conditions, wherever conditions are looked at.
from customer360.oncall import churn_conditions as churn_conditions
from customer360.oncall import receiver_conditions as receiver_conditions
from customer360.oncall import source_conditions as source_conditions
