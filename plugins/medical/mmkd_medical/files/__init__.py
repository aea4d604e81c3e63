"""Readers of scans on file: NIfTI folders and packed slices."""
