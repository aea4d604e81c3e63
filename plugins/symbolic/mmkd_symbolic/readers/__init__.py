"""Readers of mmkd-symbolic. No torch here."""
