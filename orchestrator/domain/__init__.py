"""The values and their rules, pure: nothing here touches a clock, a database, a network or a GPU.

Imports nothing of ours.
"""
