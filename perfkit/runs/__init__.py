"""The run folder: its layout, its journal, and how far a run has come."""
