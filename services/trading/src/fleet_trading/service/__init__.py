"""Use cases: functions of a unit of work; they never open, commit or roll back."""
