"""Decisions by numbers that an operator sets, pure: what a job costs, who may have how much, when patience ends."""
