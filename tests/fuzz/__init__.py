"""The project's own fuzz test: mutated files for all verbs, in processes of their own.

`python -m tests.fuzz` runs it and prints a table.
"""
