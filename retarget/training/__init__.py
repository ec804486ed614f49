"""Training of learned maps. Needs torch; nothing that runs on a robot imports it."""
