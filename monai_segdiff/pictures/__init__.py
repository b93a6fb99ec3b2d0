"""Images and label maps as pictures."""
