"""Engines run a function on plans, in processes or on Ray, and yield its reports in any order."""
