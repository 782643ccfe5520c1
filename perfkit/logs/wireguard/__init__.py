"""Readers of what WireGuard says: dumps of its peers, and the log of `wireguard-go`."""
