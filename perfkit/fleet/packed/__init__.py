"""Many hosts on each machine of another provider: namespaced ones, made there as local ones are here.

`provider` is the layer: `places` says which client is on which machine, `taking` asks the other provider
for machines and logs in to new ones (`logins`), `preparing` makes them ready. `requirements` is what
machines must have, `machines` the SSH to them, `shipping` what they are sent, `on_machine` and `machine.sh`
what runs there.

A hundred thousand clients, on paper
====================================

Packed on EC2. One run has one server and at most 256 machines there: their names are in the tags of one
call, and 100.64.0.0/12 is 256 networks of a /20. Measured are the figures of one machine of two cores;
what is assumed says so.

=============  ==================================================================================
machines       1,000 with 100 clients each (4.5 MB a client, so 450 MB), 25 servers with 4,000
               tunnels each (158 kB a client, so 632 MB): 1,025, in 25 runs of 41
vCPUs          2,100 of c5.large and c5n.xlarge; a new account may have 5 to 64
dollars        97 an hour by `prices.tsv` (44 on c7g.medium and c7g.large); traffic comes beside
calls          50 RunInstances of 1 or 40; 1,025 ModifyInstanceAttribute, one for each instance, in a
               bucket that gets 5 a second (assumed); listings of 1 page; 25 TerminateInstances
launch         instances 1 to 2 min (assumed); programs from a baked image, else apt on each; 100 hosts
               on each reachable in 1.6 s, configured in 4.3 s; 4,000 tunnels of a server 155 s (3,893
               measured in 151 s)
controllers    0.29 s a client for a whole run, 290 s for 1,000: 8 h on one, so about 10 controllers
               of under 50 min; their 1,025 logins are 15 s of a processor and 0.3 GB
disk           4.5 GB of logs a block
=============  ==================================================================================

What breaks first, in that order:

1. *The quota* of vCPUs, weeks ahead.
2. *The code*: one server in a run, so 25 runs that nobody begins together or answers as one.
3. *Room*: 25 cluster placement groups, one for the 41 instances of each run; `placement = zone` does without.
   All of a run are in one subnet, which has 4,091 addresses by default: enough for all runs.
4. *The controller*: Python's time for each client, as above.
5. *Handshakes*: a server makes 26 a second on two shared cores.

No limit are routes: EC2's tables, of 50 by default, have none of them (`perfkit.fleet.ec2.packing`), a
server has 40 of its own.
"""
