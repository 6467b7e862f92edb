"""Regularised search for factors; pure, given a random generator and a proposer."""
