"""What runs at every frame, compiled by numba, and the arrays it works on.

`arrays` and `bounds` are plain Python. Import any other module only where a hand is constructed:
it loads the compiler.
"""
