"""The workers of a run and the pools that call them.

- `prompt_worker`, `prompt_pool`: build prompts from recipes, and render frames for the page.
- `rollout_worker`, `rollout_pool`: hold one vLLM engine each; generate completions, receive weights, are restarted.
- `reward_worker`, `reward_pool`: score completions.
- `learner_port`: a learner rank's connection to the controller.
- `bench_worker`: the workers of `videossr eval`, which `cluster/evaluation/` starts.

What the workers do is in packages without Ray: `pretext/`, `rollout/`, `reward/`.
"""
