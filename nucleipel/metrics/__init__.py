"""Scores of an instance map against its annotation: Dice, AJI, PQ, AP."""
