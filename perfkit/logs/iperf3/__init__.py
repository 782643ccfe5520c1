"""Readers of iperf3: JSON and text."""
