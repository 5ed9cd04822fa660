"""Classifiers. One file registers one kind of classifier that tells rules apart."""
