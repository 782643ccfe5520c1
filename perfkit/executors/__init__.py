"""Who works on many runs: this process, a pool of processes, or the workers of a Dask cluster.

`mapping.each` is the door. Its units are whole runs, blocks or logs: handing out anything smaller costs
more than it gives. `at_worker` is what a worker does with a unit, `dask_cluster` the one module that
knows Dask.
"""
