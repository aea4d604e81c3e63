"""Evaluation: arms and jobs of a run, statistics, verdicts, curves; runs compared and reproduced."""
