"""The report, and the forms that it is written in."""
