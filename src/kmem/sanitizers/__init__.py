"""Listeners to the event stream that find what is wrong with a module, and the findings they make."""
