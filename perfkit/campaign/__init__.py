"""A campaign: the phases, the run a process has open, and what decides whether it goes on."""
