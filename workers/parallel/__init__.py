"""One render over several GPUs: guidance's two halves beside each other, and each half's sequence in shards.

The ranks form a mesh (`mesh.py`). Each holds the whole transformer and does its share of every forward (`share.py`,
`ulysses.py`); one leads (`leader.py`): it holds all else that a render needs, and tells the others what comes next.

Why this and not a library: the step loop is ours, and of a library only the transformer's forward would be used.
cache-dit 1.5 has a plan for CogVideoX's sequence, though none for guidance; to follow it, it replaces the method of
diffusers' attention processor that ours replaces too. xfuser 0.7 brings its own pipeline with its own loop and
process-wide state, and cuts latents by their height, whose 30 rows of tokens few counts of ranks divide
(xdit-project/xDiT#358). diffusers 0.42 has no plan for this model.
"""
