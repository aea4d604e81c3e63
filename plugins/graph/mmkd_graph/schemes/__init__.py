"""Schemes of graph distillation."""
