"""The map from domains to onions, and the text formats around it."""
