"""Webhook deliveries: the HTTP server, what is genuine, and which rows a delivery belongs to."""
