"""What is measured on every image."""
