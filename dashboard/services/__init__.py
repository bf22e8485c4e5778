"""Services behind the routes, besides the store.

change_feed   polls the store once for all clients and reports changes to each (routes/stream.py sends it)
frames        reads pictures of recorded frames from a run's folder or bucket
"""
