"""What is checked before MONAI Label sees a request."""
