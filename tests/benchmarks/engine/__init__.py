"""What the render engine costs and gains beside plain diffusers: on one CPU thread, and at full size on a GPU.

    python -m tests.benchmarks.engine                      the tiny models on one CPU thread, then what GPU there is
    python -m tests.benchmarks.engine --gpu --models cogvideox-5b --budget-s 540 --json out.json
    python -m tests.benchmarks.engine --rehearse           the GPU part on a CPU, with models cut down: no figure counts

`loop` is the CPU part, `full_size` the GPU part; `subjects` makes what they measure, `record` says what came out.
"""
