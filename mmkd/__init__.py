"""mmkd: distil across modalities and graphs, prove whether it helped, ship a student that needs one sensor."""

__version__ = "0.1.0"
