"""``dexhil cube ...``: print a marker cube, calibrate it and its camera, look at it."""
