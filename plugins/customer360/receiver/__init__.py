"""Webhooks: events that are pushed over HTTP are made durable, then land as files of their feed (docs/webhooks.md)."""
