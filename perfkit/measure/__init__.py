"""Measuring: the timetable, clocks, starters, the runner, and bringing the logs home."""
