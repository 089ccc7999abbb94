"""The inference engines: a record each, and what opens, exports and checks models with them."""
