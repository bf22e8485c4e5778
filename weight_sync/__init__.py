"""Weight sync: bringing the learner's weights to the rollout engines. One transfer is a push.

    controller ── Push ──► learner ranks ── parameters, in buckets ──► engines of the rollout workers named

- `rollout_client`: which rollout workers a push goes to (`LiveWorker`), and the learner's calls to them.
- `pusher`: one learner rank's part; keeps the transfer group open while the workers stay the same.
- `sender`: opens a transfer group with vLLM's weight-transfer API and sends the policy through it.
- `buckets`: packs many parameters into few messages.
- `gloo_transfer`: the transport for CPUs. On GPUs vLLM's own `nccl` and `ipc` are used.

Related parts elsewhere: `actors/controller/weight_sync.py` decides when to push and to whom; `learner/commands.py` has
the command `Push`, which `learner/loop.py` carries out; `actors/workers/rollout_worker.py` and `rollout/engine.py`
receive; `learner/modeling/policy_weights.py` gathers the parameters. `tests/contract/test_push.py` compares an
engine after a push with one that loaded the same weights.
"""
