"""3D boxes: geometry, average precision, centre maps."""
