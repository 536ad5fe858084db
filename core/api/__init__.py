"""The base that all resources of the API share: problems, bodies, filters, pages, versions, kept answers, limits, the feed.

An app registers its resources (`core.api.resources.register`) in modules of its package `api`, one file each.
"""
