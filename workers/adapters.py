"""LoRA adapters: loaded when a render asks, switched between renders, kept in a bounded cache."""
