"""Many hosts on each machine of another provider: namespaced ones, made there as local ones are here."""
