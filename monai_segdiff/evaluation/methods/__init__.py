"""Several methods on the same masks."""
