"""The record of a run.

- `recorder`: the controller's connection to the record; has frames rendered in the background.
- `run_log`: the actor that writes the record to all sinks.
- `sinks`: JSON lines, TensorBoard, Ray's gauges, Weights & Biases, MLflow; `store_sink`: the run store.
- `background_uploads`: uploads frames to a bucket without delaying the run.

A run resumes from the JSON lines and checkpoints, so an error in writing them ends it. Any other sink may fail: the
first failure becomes an event. Metric names are in `vocabulary/metrics.py`, the store's records in `store/records.py`.
"""
