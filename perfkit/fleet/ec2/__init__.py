"""Hosts at Amazon EC2: temporary, tagged from their first moment, and never forgotten."""
