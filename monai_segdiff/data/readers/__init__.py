"""Files of images and label maps, a module a format: what a file means, whatever wrote it."""
