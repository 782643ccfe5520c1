"""Configuring hosts over SSH: guarded Fabric connections, configurer threads, recipes, PKI."""
