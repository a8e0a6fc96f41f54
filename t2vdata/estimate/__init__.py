"""What a build would cost, on this machine or on a cluster, measured on a few of its clips."""
