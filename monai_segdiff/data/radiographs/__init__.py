"""Radiographs from CT volumes and from label maps."""
