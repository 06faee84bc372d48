"""The pages: functions from a visit to what it shows."""
