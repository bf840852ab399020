"""Cron: functions on schedules.  Imports nothing: the command line needs the schedules only."""
