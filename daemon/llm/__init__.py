"""The language model behind the agents: endpoint, budgets, and what opens them."""
