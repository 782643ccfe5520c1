"""Hosts that exist already: reached as an inventory file says, used, cleaned, never ended."""
