"""The studies of a server, and what is kept beside them."""
