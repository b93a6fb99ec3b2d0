"""The subjects of the report, a module each."""
