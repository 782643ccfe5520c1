"""Browser tests and what they share; a package, so that its conftest is not the other conftest."""
