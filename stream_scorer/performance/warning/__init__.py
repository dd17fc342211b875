"""Early warning: evidence that the loss per decision has risen. Numbers in, numbers out."""
