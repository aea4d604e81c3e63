"""`python -m mmkd`, for `torchrun -m mmkd`."""

from mmkd.cli.main import main

if __name__ == "__main__":
    raise SystemExit(main())
