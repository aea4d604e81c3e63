"""The core's own model."""
