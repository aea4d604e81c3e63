"""Files of published data, read as they are."""
