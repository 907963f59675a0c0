"""Many engines, versions and flags under many workloads, cell by cell; knows all rooms."""
