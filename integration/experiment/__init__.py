"""Experiments: arms × rounds × seeds as steps that each leave a folder, and one table in the end.

``config`` says what to run, ``plan`` cuts it into steps, ``work`` does one of them in a worker
process, ``run`` keeps the workers busy and what they did on disk, ``results`` and ``report`` tell.
"""
