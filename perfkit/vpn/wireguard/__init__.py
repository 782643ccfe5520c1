"""WireGuard: keys, configuration, and the scripts that start and stop it on a host."""
