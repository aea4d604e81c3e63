"""Tasks of mmkd-symbolic."""
