"""How a database made by an older version becomes one of this version.

One file in `versions/` for each change of `store/schema/tables.py`, numbered; a test holds that all of them together give
exactly those tables. A file that was released is never changed again.
"""
