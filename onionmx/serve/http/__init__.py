"""HTTP for people and monitoring: pages, metrics, health."""
