"""Readers of iperf 2: text and `-y C`."""
