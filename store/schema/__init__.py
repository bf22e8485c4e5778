"""The store's tables (`tables`), and upgrading a database to them (`upgrade`) with `migrations/`."""
