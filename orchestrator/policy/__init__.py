"""Decisions by numbers that an operator sets, pure: what a job costs, whose turn it is, who may have it.

Imports domain.
"""
