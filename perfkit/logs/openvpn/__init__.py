"""Readers of OpenVPN's status files, statistics and logs."""
