"""Decisions by numbers that an operator sets, pure: what a job costs, whose turn it is, who may have it, what is too long.

Imports domain.
"""
