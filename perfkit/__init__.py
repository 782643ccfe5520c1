"""perfkit: network performance campaigns with many temporary machines.

A campaign goes one way through the house::

    settings -> fleet -> configure -> measure -> | runs/<id>/raw | -> logs -> analysis -> report
                                                  ^ the disk seam

Everything left of the seam costs money or root and talks to machines. Everything right of it
works on a copied run folder, on a laptop with no network. Nothing crosses the seam but files.

====================  ==========================================================================
`perfkit.phases`      one function a phase; start reading here
`perfkit.cli`         the same functions as shell commands
`perfkit.session`     a run that this process has open; `upkeep`: status and reap; `doctor`
`perfkit.verdicts`    what a phase's results mean for its run; `tunnels`: the gate before traffic
`perfkit.fleet`       hosts: providers, inventory, launching, reaping
`perfkit.configure`   SSH: guarded Fabric connections, configurer threads, recipes, PKI
`perfkit.measure`     timetable, clocks, starters, the runner, collecting the logs
`perfkit.logs`        readers: a log file in, a tidy frame and what was not understood out
`perfkit.analysis`    segments (the windows that count) and statistics over them
`perfkit.report`      one table model, its exports, plots, the report page
`perfkit.runs`        the layout of a run folder; the only code that knows its paths
`perfkit.journal`     the append-only event log of a run
`perfkit.settings`    config/*.conf and parameters, validated
`perfkit.model`       the frozen dataclasses handed between rooms
`perfkit.units`       every conversion and every formatter of a figure
`perfkit.errors`      the whole error tree
`perfkit.testing`     synthetic logs with known truth, and fakes, for tests (yours too)
====================  ==========================================================================

This package imports nothing; import the leaf you need.
"""

__version__ = "0.1.0"
