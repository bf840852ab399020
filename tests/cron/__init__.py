"""Cron: schedules, jobs, the command."""
