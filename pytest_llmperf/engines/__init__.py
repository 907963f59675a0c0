"""What is particular to one engine, one file each behind a small protocol."""
