"""One render over several GPUs: guidance's two halves beside each other, and each half's sequence in shards.

The ranks form a mesh (`mesh.py`). Each holds the whole transformer and does its share of every forward (`share.py`,
`ulysses.py`); one leads (`leader.py`): it holds all else that a render needs, and tells the others what comes next.

Why this and not a library: the step loop is ours, and of a library only the transformer's forward would be used.
cache-dit 1.5 has a plan for CogVideoX's sequence, but none for guidance; it replaces diffusers' attention processor for
the whole process, which ours replaces too, and shards the text, whose 226 tokens four ranks cannot share evenly.
xfuser 0.7 shards latents by height, so that only divisors of their 30 rows are possible, wants its own pipeline with
its own loop and process-wide state, and carries what a CPU cannot import. diffusers 0.42 has no plan for this model.
"""
