"""The model that the learner trains.

- `policy_model.py`: a transformers model whose forward returns the logprobs of completions; loading it.
- `attention.py`: attention over packed groups, in which a prompt is computed once for all its completions.
- `lora.py`: low-rank adapters.
- `loading.py`: the policy, its optimizer and its reference model under DeepSpeed.
- `policy_weights.py`: the full parameters, for pushes.
- `deepspeed_setup.py`: DeepSpeed's configuration and kernel builds.
- `generate.py`: completions from the transformers model itself, for the warm-up. Rollouts come from vLLM (`rollout/`).
- `tiny.py`: random tiny models of the real architectures, for the demo and the tests.
"""
