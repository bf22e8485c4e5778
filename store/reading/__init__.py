"""How pages and commands read the store: `reader` is the interface, `summaries` lists runs, `series` reads curves."""
