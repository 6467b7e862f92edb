"""Clients: the only code that imports a provider's library, and only inside a child process.

A client is a module with `call(query) -> pandas.DataFrame` and `classify(error) -> str`, the
outcome an error stands for. `start(folder, seconds)`, where there is one, is called once: a folder
to keep things in and the seconds one network request may take.
"""
