"""Generated driving scenes: roads with cars, a camera and a LiDAR that look at the same boxes."""
