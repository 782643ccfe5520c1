"""The shell: the phases of a campaign as commands."""
