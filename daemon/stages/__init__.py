"""The stages of a session: ingest, observe, publish; and remine beside them."""
