"""The VPN under test: what is planned, what goes to a host, and whether a tunnel carries traffic."""
