"""The store's tables (`tables`), bringing a database up to them (`upgrade`), and the `migrations/` that do it."""
