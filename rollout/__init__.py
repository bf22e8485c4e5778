"""Building prompts and generating completions.

- `prompt.py`: a sample as the inputs of engine and learner, the one place where a prompt is built.
- `engine.py`: the vLLM engine: prompts in, completions with logprobs out; receives weights.
- `logits.py`: the logits processor inside vLLM that forbids vision tokens. Only vLLM imports it.
- `config.py`: section `rollout` of the configuration.

The Ray actors that own engines are in `actors/workers/`; `weight_sync/` sends the weights.
`tests/contract/test_parity.py` compares the engine's logprobs with the learner's.
"""
