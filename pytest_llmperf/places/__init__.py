"""Where a server runs: a local process, an existing URL."""
