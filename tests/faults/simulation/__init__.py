"""The whole daemon, simulated from one seed: two markets, a passed clock, random faults."""
