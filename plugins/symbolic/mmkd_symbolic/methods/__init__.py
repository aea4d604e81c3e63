"""Methods of mmkd-symbolic."""
