"""The process that works: leases, runs and settles jobs. `attempt.py` is where a job runs."""
