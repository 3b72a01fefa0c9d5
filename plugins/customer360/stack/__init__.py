"""The processes of an installation: embedded server, Airflow, monitor; how they are configured and reached."""
