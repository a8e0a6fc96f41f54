"""Engines: each runs ``work`` on plans and yields the reports, in any order. They know nothing about the work."""
