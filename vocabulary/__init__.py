"""The names that a run's record is written in, so that writers and readers of it agree.

Standard library only; every package may import it.
"""
