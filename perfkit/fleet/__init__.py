"""Hosts: providers that make them, the inventory that knows their state, launch and reap."""
