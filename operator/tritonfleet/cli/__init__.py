"""The `tritonfleet` command."""
