"""The process that works: leases jobs, runs them, settles them. `attempt.py` is where a job runs."""
