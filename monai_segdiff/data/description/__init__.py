"""What `dataset.json` and the records beside it say."""
