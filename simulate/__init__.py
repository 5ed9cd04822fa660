"""Train model organisms: networks whose learning rule is known.

Needs torch; the planning layer never imports it.
"""
