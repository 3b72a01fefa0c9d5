"""What broke, who feels it, which command fixes it, proof that it is fixed: conditions, incidents, alerts, monitor."""
