"""Phantoms: random anatomy from a seed, and data sets of it."""
