"""Arms, hands, gloves, trackers, cameras and switches behind one small interface."""
