"""mmkd-symbolic: Networks into rules and rules into networks, for mmkd."""
