"""Migrations: they turn a database made by an older version into one of this version.

`versions/` has one numbered file for each change of `store/schema/tables.py`; a test checks that together they make
exactly those tables. Never change a file that was released.
"""
