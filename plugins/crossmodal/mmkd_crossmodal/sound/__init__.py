"""Scenes of sounds, generated: what is heard, where, and how somebody would describe it."""
