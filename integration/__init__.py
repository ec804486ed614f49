"""Rigs, tasks, operator, recorder, rounds, evaluation, command line: what wires things together."""
