"""The home of evaluation: scores of a model on held-out samples and on benchmarks.

- `viubench`: VIUBench (arXiv 2511.06281): its nine columns, its metric, and the scores of guessing.
- `bench`: a benchmark on disk: build one from any videos, and load it.
- `settings`: the options of `videossr eval`.
- `results`: from scored completions to the table, its files and its plot.
- `metrics`: mean scores of held-out samples at one point of a run.

Related parts elsewhere:

- `actors/controller/held_out.py` evaluates held-out samples during a run, before, during and after training.
- `cluster/evaluation/` is the command `videossr eval`; `cluster/cli/bench.py` has its options.
- `actors/workers/bench_worker.py` has its workers.
- `store/records.py` has `EvaluationRecord`, the run store's form of scores; `dashboard/routes/benchmarks.py` serves it.
- `cluster/training/report.py` compares the scores before and after a run.
- `dataset/stats/baselines.py` measures what one constant completion earns.
"""
