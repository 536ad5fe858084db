"""Wiring only: settings, addresses, processes. May import any app; no app imports it."""

from config.celery import app as celery

__all__ = ["celery"]
