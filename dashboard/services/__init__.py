"""What the routes work with besides the store.

change_feed   polls the store once for all clients and tells each what changed (routes/stream.py sends it)
frames        reads pictures of sampled frames from a run's folder or bucket
"""
