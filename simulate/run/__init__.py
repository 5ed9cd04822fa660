"""Running recipes: here, on a GPU, on many machines, so that nothing is lost or done twice."""
