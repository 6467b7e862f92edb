"""What is kept: database, bars, publications. Imports nothing, so that the reader stays light."""
