"""Reading the store: `reader` is the interface, `summaries` lists runs, `series` reads metrics over steps."""
