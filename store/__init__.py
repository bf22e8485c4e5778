"""The run store: what runs say of themselves, in SQLite or PostgreSQL, for whoever watches them.

A run writes through `writer.RunWriter`, a page reads through `reader.RunReader`, and what people ask of a run goes
through `requests`. Steps are numbered from 0, as the learner's are. Times are seconds since the epoch, UTC.
"""
