"""Migrations, which upgrade a database from an older version to this one.

`versions/` has one file for each change of `store/schema/tables.py`, named vNUMBER_NAME.py after its revision. A test
checks that together they create exactly those tables. Never change a file that was released.
"""
