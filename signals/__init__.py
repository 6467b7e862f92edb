"""Pure mathematics of factors: expressions, labels, IC, decay, blending, published format."""
