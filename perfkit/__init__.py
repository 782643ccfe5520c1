"""perfkit: network performance campaigns with many temporary machines.

A campaign goes one way through the house::

    settings -> fleet -> configure -> measure -> | runs/<id>/raw | -> logs -> analysis -> report
                                                  ^ the disk seam

Everything left of the seam costs money or root and talks to machines. Everything right of it
works on a copied run folder, on a laptop with no network. Only files cross the seam.

=============================  ===================================================================
`perfkit.campaign`             `phases`: one function a phase, start reading there; the open run,
                               blocks (`session`), resume, estimates, status and reap, the gate
                               before traffic
`perfkit.cli.app`              the same functions as shell commands
`perfkit.notebook.parameters`  the parameters of a notebook, their form, `perfkit lab`
`perfkit.widgets`              the live grid of hosts, the segment picker, forms
`perfkit.fleet`                hosts: providers, inventory, launch, reap; `local/`, `ec2/`,
                               `static/`, `packed/`
`perfkit.ssh`                  the SSH stack: connections, pinned keys, jump hosts, files, threads
`perfkit.configure`            recipes, their bundles of files, Fabric tasks, facts about a host
`perfkit.vpn`                  the VPN under test: its plan, its files, whether a tunnel carries
                               traffic
`perfkit.measure`              timetable, clocks, starters, the runner, collecting the logs
`perfkit.logs`                 readers, a folder for each tool: a log in, a tidy frame and notes
                               out
`perfkit.analysis`             segments (the windows that count) and the statistics over them
`perfkit.report`               one table model, its exports, plots, the report page
`perfkit.store`                tables of all runs as parquet; SQL over them, pictures over time
`perfkit.runs.folder`          the layout of a run folder, its journal, its progress
`perfkit.executors`            who works on many runs: this process, a pool, a Dask cluster
`perfkit.settings.parameters`  config/*.conf and parameters, validated; secrets are refused
`perfkit.testing`              synthetic logs with known truth, and contract suites, for tests
`perfkit.doctor`               is this machine ready?
`perfkit.model`                the frozen dataclasses handed between rooms
`perfkit.units`                every conversion and every format of a figure
`perfkit.ownership`            whether another user could change what lies at a path
`perfkit.untrusted`            bounds for all that hosts and archives say: size, depth, characters
`perfkit.retry`                loops that end: attempts, pauses, a deadline
`perfkit.errors`               the error tree
=============================  ===================================================================

This package imports nothing; import the leaf you need.
"""

__version__ = "0.2.0"
