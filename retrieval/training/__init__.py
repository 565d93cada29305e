"""Training on any dataset of tagged clips: the contrastive model and the closed-set baseline."""
