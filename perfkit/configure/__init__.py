"""Configuring hosts: bundles of files, recipes, and what a host is."""
