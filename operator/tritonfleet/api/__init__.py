"""The product's words: the ModelDeployment, its conditions, names and CRD schema."""
