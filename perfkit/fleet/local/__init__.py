"""The local provider: real Linux hosts out of namespaces on this one machine."""
