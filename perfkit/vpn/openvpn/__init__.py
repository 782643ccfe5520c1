"""OpenVPN: its certificate authority and its configuration."""
