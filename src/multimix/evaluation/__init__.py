"""What predictions are worth: scores, comparisons, and an audit of what makes them wrong."""
