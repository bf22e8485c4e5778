"""`videossr eval`: a model completes the prompts of a benchmark on a Ray cluster.

- `evaluate`: the command's recipe: load, check, start the workers, generate and score, write the results.
- `model_folder`: what --model names (a folder, a hub id or a run), and whether it can complete these prompts.
- `record`: put the results into the run store.

`evaluation/__init__.py` names all parts of evaluation.
"""
