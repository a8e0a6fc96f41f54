"""The cost of a build before it runs, on this machine or on a cluster, extrapolated from a few of its clips."""
