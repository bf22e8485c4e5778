"""The checkpoints of a run, from the moment they are written: found, exported, repaired.

- `find`: list a run's complete checkpoints, in its folder or in its bucket; the last one; the best one.
- `export`: turn a checkpoint into a Hugging Face folder.
- `repair_list`: rebuild Ray Train's list of checkpoints, if a killed run left half of it.

A checkpoint is `runs/NAME/checkpoints/learner/checkpoint_TIME/`: `state.json` (step, cursor, score, start model, number
of ranks) and `policy/` (one DeepSpeed shard per rank). Related parts elsewhere:

- `actors/controller/` decides when the learner saves (`train.checkpoint_every`, requests, the end of the run).
- `learner/checkpoint.py` writes a checkpoint and restores the learner from one.
- Ray Train copies it into the run's storage, keeps the list of checkpoints, and deletes old ones;
  `cluster/training/processes.py` sets how many are kept (`train.keep_checkpoints`) and by which score.
- `store/files.py` reads and writes files in a folder or a bucket; `cluster/runs/folder.py` says which of the two a run
  uses.
- `cluster/training/train.py` repairs the list before a run starts.
"""
