"""Who drives, and how a person's motion becomes the robot's: mapping, takeover, safety, loops."""
