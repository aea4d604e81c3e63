"""mmkd-crossmodal: One sensor taught by another, for mmkd: vision to wearable sensors."""
