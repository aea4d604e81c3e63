"""A generator of articulated motion: skeleton frames and inertial readings of one and the same pose."""
