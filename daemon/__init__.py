"""When things happen: settings, clock, feeds, stages, supervision, command line."""
