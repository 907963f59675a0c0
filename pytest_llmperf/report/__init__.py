"""What a person sees, made from the entries of a record."""
