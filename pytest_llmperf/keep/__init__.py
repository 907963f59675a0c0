"""Records and baselines on disk, and the fingerprint that makes two of them comparable."""
