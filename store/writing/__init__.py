"""Writing to the store: `writer` (never blocks its caller), `backlog` (waiting entries), `write` (SQL)."""
