"""Deployment: a student as a bundle that provably needs its own inputs only, and the runtime that reads it.

`export` (torch) writes a bundle; `runtime`, `readers` and `verify` need numpy and onnxruntime alone. Nothing is
imported here, so that a device that only predicts never loads torch.
"""
