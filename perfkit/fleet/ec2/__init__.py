"""Hosts at Amazon EC2: temporary, tagged from their first moment, and never forgotten.

`provider` puts it together. A launch goes `calls` (what is said) -> `idempotent_calls` (until it is
answered) -> `launch` (pool after pool) or `fleets` (all pools at once); `describe` lists, `release` ends,
`userdata` is what a host does by itself; `packing` lets instances carry hosts of their own; `failures` is
the table from error to action, `client` the only importer of boto3.

Ten thousand hosts, on paper
============================

perfkit makes at most 1,001 in a run. What would break on the way to 10,000, in that order:

1. *The account.* 10,000 hosts of 2 vCPUs are 20,000 vCPUs; a new account may have 5 to 64. The quota
   (L-1216C47A) has to be raised weeks ahead, and at 0.1 USD an hour each they cost 1,000 USD an
   hour: `max_usd` is there for that.
2. *The subnet.* A default subnet has 4,091 addresses. Three of them, or one /18 of one's own; and
   public addresses for all cost 50 USD an hour, so the controller belongs into the VPC
   (`address = private`).
3. *RunInstances.* Its bucket holds 1,000 instances and gets 2 a second: with batches of 25, the
   first 1,000 go in 40 calls at once, the other 9,000 need 75 minutes, unless AWS raises the rate.
   400 calls in all, of 2 buckets: the calls' own (5, 2 a second) would do in 4 minutes. CreateFleet
   instead counts one call for up to 1,000 hosts, 10 in all, but then 10,000 CreateTags, 5 a second.
4. *Listing.* 10,000 instances are 20 pages of 500. One listing for all batches each 2 s is 10 calls
   a second, under the bucket of DescribeInstances (100, 20 a second) but not by much: `FRESH_S`
   would go to 15.
5. *The tunnel and the network.* One OpenVPN server is full at a few Gbit/s and 4,093 clients
   (`perfkit.vpn.plan`); 10,000 need several servers, a /18, and a role for each. One security
   group that names itself tracks connections in each host; a placement group holds 500 at best.
6. *The controller.* 10,000 SSH connections at 0.3 MB are 3 GB, and the login costs 15 ms of CPU:
   2.5 minutes on one core. Clock offsets, orders and logs take as long each. Two or three
   controllers with a part of the clients each come before a faster one.
7. *Releasing.* 100 TerminateInstances of 100, in the bucket of 100 (5 a second): half a minute; the
   wait for `terminated` takes longer. The dead man needs no call at all, and does not care how many.

The numbers of the buckets are AWS's defaults as documented in 2025, and differ by account and
region.
"""
