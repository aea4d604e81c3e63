"""Readers of raw sensor files for `mmkd predict`; they import no torch."""
