"""The networks that read images: segmenter and classifier of findings."""
