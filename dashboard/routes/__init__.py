"""The API, one module per subject; each has a `router` that dashboard/app.py includes.

runs         runs, their events, workers, evaluations, requests and configuration
metrics      the catalogue of metrics, and curves as JSON or CSV
rollouts     recorded groups with their frames
benchmarks   results of `videossr eval`
stream       changes as server-sent events
actions      starting, stopping, saving and resuming runs
log          requests to all runs: who made them, and their outcome
session      the caller's permissions; logging in and out
health       liveness and readiness
api_docs     the API's documentation at /docs
"""
