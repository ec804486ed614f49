"""Episodes, policies, losses and trainers. The only room that needs torch."""
