"""The outside world, one system per file: the cluster, the store of what was seen, the lease."""
