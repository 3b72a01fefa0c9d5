"""What Airflow runs and shows: the functions that tasks call, assets, the watcher of the landing zone, the pages."""
