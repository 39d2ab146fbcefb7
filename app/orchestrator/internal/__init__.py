"""What other containers ask, known by their addresses: callbacks, reports, metrics, health checks."""
