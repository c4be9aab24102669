"""The queue's policies under a virtual clock: what a fleet would make of some traffic, render by render.

Imports config, domain, policy.
"""
