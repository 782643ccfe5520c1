"""Many hosts on each machine of another provider: namespaced ones, made there as local ones are here.

`provider` is the layer, `requirements` what it refuses, `machines` the SSH to machines, `shipping` what
they are sent, `on_machine` and `machine.sh` what runs there.

A hundred thousand clients, on paper
====================================

Packed on EC2, which is not built: today `per_machine` packs onto existing machines, and a run has one
server. Measured are the figures of one machine of two cores; what is assumed says so.

=============  ==================================================================================
machines       1,000 with 100 clients each (4.5 MB a client, so 450 MB), 25 servers with 4,000
               tunnels each (158 kB a client, so 632 MB): 1,025
vCPUs          2,100 of c5.large and c5n.xlarge; a new account may have 5 to 64
dollars        97 an hour by `prices.tsv` (44 on c7g.medium and c7g.large); traffic comes beside
calls          41 RunInstances of 25, the last ones 12.5 s late; listings of 3 pages; 11
               TerminateInstances
launch         instances 1 to 2 min (assumed); 100 hosts on each reachable in 1.6 s, configured in
               4.3 s; 4,000 tunnels of a server 155 s (3,893 measured in 151 s)
controllers    0.29 s a client for a whole run, 290 s for 1,000: 8 h on one, so about 10 controllers
               of under 50 min; their 1,025 logins are 15 s of a processor and 0.3 GB
disk           4.5 GB of logs a block
=============  ==================================================================================

What breaks first, in that order:

1. *The quota* of vCPUs, weeks ahead.
2. *The code*: 1,001 hosts in a run at EC2, and one server in a run.
3. *Routes*: a prefix for each machine is 1,000 routes in one table of a VPC, whose default is 50.
   Prefix delegation instead, seven /28 on a machine, is 112,000 addresses: two /16.
4. *Room*: a cluster placement group for 1,000 instances; `placement = zone` is for that.
5. *The controller*: Python's time for each client, as above.
6. *Handshakes*: a server makes 26 a second on two shared cores.
"""
