"""A source of images and label maps made into a data set to train on."""
