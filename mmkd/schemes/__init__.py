"""Schemes: who learns from whom, and when."""
