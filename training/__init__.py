"""Contrastive pre-training with several projection heads and pair-adaptive temperatures (AMCL, ECCV 2024)."""
